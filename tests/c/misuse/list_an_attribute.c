/* Objects and attributes are confused. */
#include "../misuse.h"

static int on_entry(void *context, const char *name, uint32_t kind)
{
    (void)context;
    TRUE(*name && kind >= SCSTU_OBJECT && kind <= SCSTU_LINK);
    return 42;
}

static int on_description(void *context, const struct scstu_description *description)
{
    (void)context;
    TRUE(*description->help && *description->values && description->flags & SCSTU_READABLE);
    return 43;
}

int main(void)
{
    struct scstu *handle = with_device();

    EXPECT(ENOTDIR, scstu_list, (handle, "devices/disk/size", on_entry, NULL), "not a directory");
    EXPECT(EINVAL, scstu_list, (handle, "", NULL, NULL), "the function is NULL");
    EXPECT(EISDIR, scstu_describe, (handle, "devices", on_description, NULL), "is a directory");
    EXPECT(EINVAL, scstu_describe, (handle, "devices/disk/size", NULL, NULL), "the function is NULL");
    TRUE(scstu_list(handle, "", on_entry, NULL) == 42);
    TRUE(scstu_describe(handle, "devices/disk/size", on_description, NULL) == 43);
    return done(handle);
}
