/* A handler declares attributes that cannot be read: lists and structs that are not what they say. */
#include "../misuse.h"

int main(void)
{
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();
    struct scstu_attribute row;
    const struct scstu_attribute *rows[SCSTU_ATTRIBUTE_LIMIT + 1] = { &row }, *none[] = { NULL };

    memset(&row, 0, sizeof row);
    row.size = sizeof row;
    row.name = "a";
    row.value_type = SCSTU_TYPE_BOOL;
    row.flags = SCSTU_CREATE_ONLY;
    ops.context = &ops;
    ops.free_context = release;
    ops.attribute_count = 1;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "of attributes and attribute_count one is set");
    ops.attributes = rows;
    ops.attribute_count = 0;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "of attributes and attribute_count one is set");
    ops.attribute_count = SCSTU_ATTRIBUTE_LIMIT + 1;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "attribute_count is 33: at most 32");
    ops.attribute_count = 1;
    ops.attributes = none;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "struct scstu_attribute is NULL");
    ops.attributes = rows;
    row.size = 8;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "struct scstu_attribute says that it has 8 bytes");
    /* As a program of before scstu_attribute.set would have it. */
    row.size = offsetof(struct scstu_attribute, set);
    TRUE(released == 5);
    GOOD(scstu_backstore_register(handle, &ops));
    return done(handle);
}
