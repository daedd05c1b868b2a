/* NULL as a handle is an error everywhere but in scstu_free(). */
#include "../calls.h"

#define WITHOUT_HANDLE(function, arguments)                                                                 \
    if (strcmp(#function, "scstu_free"))                                                                    \
        EXPECT(EINVAL, function, arguments, "the handle is NULL");

int main(void)
{
    struct scstu *handle = NULL;

    prepare_calls();
    CALLS(WITHOUT_HANDLE)
    GOOD(scstu_free(NULL));
    return done(NULL);
}
