/* A handler declares attributes whose names cannot be. */
#include "../misuse.h"

static struct scstu_attribute one, two;
static const struct scstu_attribute *const rows[] = { &one, &two };

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();
    char name[66];

    ops.attributes = rows;
    ops.attribute_count = 1;
    one.size = sizeof one;
    one.value_type = SCSTU_TYPE_BOOL;
    one.flags = SCSTU_CREATE_ONLY;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "name of an attribute is NULL");
    one.name = "";
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "attribute \"\": is no name");
    one.name = "Speed";
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "attribute \"Speed\": is no name");
    one.name = "a/b";
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "attribute \"a/b\": is no name");
    one.name = "\xff";
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "name of an attribute is not UTF-8");
    memset(name, 'a', 65);
    name[65] = 0;
    one.name = name;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "64 at most");
    one.name = "filename";
    EXPECT(EEXIST, scstu_backstore_register, (handle, &ops), "\"filename\": all devices have an attribute");
    one.name = "usn";
    EXPECT(EEXIST, scstu_backstore_register, (handle, &ops), "\"usn\": all devices have an attribute");
    one.name = "handler";
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "for something else");
    one.name = "speed";
    two = one;
    ops.attribute_count = 2;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "attribute \"speed\": is declared twice");
    two.name = "speed_2";
    GOOD(scstu_backstore_register(handle, &ops));
    EXPECT(EEXIST, scstu_backstore_register, (handle, &ops), "handler plain already");
    return done(handle);
}
