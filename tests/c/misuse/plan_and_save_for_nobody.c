/* Nobody takes the plan or the text. */
#include "../misuse.h"

static int on_text(void *context, const char *text)
{
    (void)context;
    (void)text;
    return 44;
}

int main(void)
{
    struct scstu *handle = made();

    EXPECT(EINVAL, scstu_plan, (handle, "", 0, NULL, NULL), "the function is NULL");
    EXPECT(EINVAL, scstu_save, (handle, NULL, NULL), "the function is NULL");
    EXPECT(EINVAL, scstu_plan, (handle, NULL, 0, on_text, NULL), "text is NULL");
    TRUE(scstu_save(handle, on_text, NULL) == 44);
    return done(handle);
}
