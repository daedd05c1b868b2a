/* A process declares ever new lists of attributes, which the library keeps: at some time that is enough. */
#include "../misuse.h"

static struct scstu_attribute row;
static const struct scstu_attribute *const rows[] = { &row };

static int declared(struct scstu *handle, int number)
{
    struct scstu_backstore_ops ops = plain();
    char name[32];
    int result;

    snprintf(name, sizeof name, "number_%d", number);
    row.size = sizeof row;
    row.name = name;
    row.value_type = SCSTU_TYPE_BOOL;
    row.flags = SCSTU_CREATE_ONLY;
    ops.attributes = rows;
    ops.attribute_count = 1;
    result = scstu_backstore_register(handle, &ops);
    return result ? result : scstu_backstore_unregister(handle, "plain");
}

int main(void)
{
    struct scstu *handle = made();

    for (int number = 0; number < 1024; number++)
        GOOD(declared(handle, number));
    TRUE(declared(handle, 1024) == -ENOSPC && strstr(scstu_error(), "has declared 1024 lists of attributes"));
    GOOD(declared(handle, 7));
    return done(handle);
}
