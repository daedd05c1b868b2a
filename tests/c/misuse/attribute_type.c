/* A handler declares attributes whose types, ranges and defaults cannot be. */
#include "../misuse.h"

static struct scstu_attribute row;
static const struct scstu_attribute *const rows[] = { &row };

static void of(uint32_t type, uint64_t minimum, uint64_t maximum, const char *value)
{
    row.value_type = type;
    row.minimum = minimum;
    row.maximum = maximum;
    row.default_value = value;
}

int main(void)
{
    static const char *const words[] = { "a", "b" }, *const twice[] = { "a", "a" }, *const bad[] = { "a b" },
                      *const hole[] = { "a", NULL };
    struct scstu *handle = made();
    struct scstu_backstore_ops ops = plain();

    ops.attributes = rows;
    ops.attribute_count = 1;
    row.size = sizeof row;
    row.name = "speed";
    row.flags = SCSTU_CREATE_ONLY;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "attribute \"speed\": value_type 0: ");
    of(SCSTU_TYPE_TRIGGER, 0, 0, NULL);
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "value_type 9: ");
    of(SCSTU_TYPE_BOOL, 0, 1, NULL);
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "a type without a range has");
    of(SCSTU_TYPE_BOOL, 0, 0, "yes");
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "default \"yes\" is not 0 or 1");
    of(SCSTU_TYPE_NUMBER, 9, 8, NULL);
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "minimum 9 is more than maximum 8");
    of(SCSTU_TYPE_NUMBER, 1, 8, NULL);
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "default \"0\" is not a number from 1 to 8");
    of(SCSTU_TYPE_NUMBER, 1, 8, "9");
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "default \"9\" is not a number from 1 to 8");
    of(SCSTU_TYPE_SIGNED, 1, (uint64_t)-1, NULL);
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "minimum 1 is more than maximum -1");
    of(SCSTU_TYPE_SIZE, 0, 0, "much");
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "default \"much\" is not a number of bytes");
    of(SCSTU_TYPE_TEXT, 0, SCSTU_VALUE_LIMIT + 1, NULL);
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "a text of 1025 bytes: 1 to 1024");
    of(SCSTU_TYPE_TEXT, 0, 2, "abc");
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "default \"abc\" is not printable text of at most 2 bytes");
    of(SCSTU_TYPE_WORD, 0, 0, NULL);
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "0 words: 1 to 64");
    row.words = words;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "of words and word_count one is set");
    row.word_count = 2;
    row.default_value = "c";
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "default \"c\" is not a or b");
    row.default_value = NULL;
    row.words = twice;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "the word \"a\" is there twice");
    row.words = hole;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "a word of an attribute is NULL");
    row.words = bad;
    row.word_count = 1;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "\"a b\" is no word");
    row.word_count = 65;
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "word_count 65: at most 64");
    row.words = words;
    row.word_count = 2;
    of(SCSTU_TYPE_TEXT, 0, 2, NULL);
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "a type without words has words");
    row.words = NULL;
    row.word_count = 0;
    row.help = "two\nlines";
    EXPECT(EINVAL, scstu_backstore_register, (handle, &ops), "help is not one line of at most 1024");
    row.help = NULL;
    GOOD(scstu_backstore_register(handle, &ops));
    return done(handle);
}
