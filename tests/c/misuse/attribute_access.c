/* A handler declares attributes whose flags and functions do not go together. */
#include "../misuse.h"

static int tell(void *device, char *buffer, size_t length)
{
    (void)device;
    memset(buffer, 'x', length);
    return 0;
}

static int learn(void *device, const char *value, uint64_t number)
{
    (void)device;
    (void)value;
    (void)number;
    return 7;
}

int main(void)
{
    static struct scstu_attribute row, other;
    static const struct scstu_attribute *const rows[] = { &row, &other };
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();
    char value[16];

    ops.attributes = rows;
    ops.attribute_count = 1;
    row.size = sizeof row;
    row.name = "speed";
    row.value_type = SCSTU_TYPE_BOOL;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "attribute \"speed\": flags 0x0 is not one of");
    row.flags = SCSTU_WRITABLE | SCSTU_CREATE_ONLY;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "is not one of SCSTU_CREATE_ONLY, SCSTU_WRITABLE");
    row.flags = SCSTU_WRITABLE;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "set with SCSTU_WRITABLE");
    row.flags = SCSTU_READABLE;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "get goes with SCSTU_READABLE");
    row.flags = SCSTU_CREATE_ONLY;
    row.set = learn;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "and neither without");
    row.flags = SCSTU_WRITABLE;
    other = row;
    other.name = "told";
    other.flags = SCSTU_READABLE;
    other.set = NULL;
    other.get = tell;
    ops.attribute_count = 2;
    GOOD(scstu_backstore_register(handle, &ops));
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    /* What the functions do wrong is not the library's to suffer from. */
    EXPECT(EIO, scstu_set, (handle, "devices/disk/speed", "1"), "speed: ");
    GOOD(scstu_get(handle, "devices/disk/told", value, sizeof value, NULL));
    TRUE(!*value);
    return done(handle);
}
