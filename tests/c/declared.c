/* A handler declares parameters and attributes: they are like those of all devices, and the handler learns of them. */
#include "misuse.h"

enum { DEPTH, RATIO, CACHE, MODE, LABEL, DELAY, ERRORS, ROWS };

static int opens, sets, fails_at_99;
static uint64_t depth, ratio, cache, mode, delay;
static char label[64], delay_text[32];

static int open_told(void *context, const struct scstu_open *open, struct scstu_disk *disk)
{
    opens++;
    TRUE(open->size == sizeof *open && open->value_count == ROWS);
    TRUE(!open->values[ERRORS] && !open->numbers[ERRORS]);
    depth = open->numbers[DEPTH];
    ratio = open->numbers[RATIO];
    cache = open->numbers[CACHE];
    mode = open->numbers[MODE];
    delay = open->numbers[DELAY];
    snprintf(label, sizeof label, "%s", open->values[LABEL]);
    snprintf(delay_text, sizeof delay_text, "%s", open->values[DELAY]);
    return plain_open(context, open, disk);
}

static int set_delay(void *device, const char *value, uint64_t number)
{
    (void)device;
    sets++;
    if (number == 99 && fails_at_99)
        return -ENODEV;
    delay = number;
    snprintf(delay_text, sizeof delay_text, "%s", value);
    return 0;
}

static int is_unknown;

static int get_errors(void *device, char *buffer, size_t length)
{
    (void)device;
    TRUE(length == SCSTU_VALUE_LIMIT + 1);
    snprintf(buffer, length, "seven\nor more");
    return is_unknown ? -EIO : 0;
}

/* Everything is made on the heap and overwritten after registering: the library has copied it. */
static void registered(struct scstu *handle)
{
    static const char *const all_words[] = { "none", "some" };
    static const char all_names[] = "queue_depth\0ratio\0cache_bytes\0mode\0label\0delay_us\0error_text";
    char *names = malloc(sizeof all_names), *at = names;
    struct scstu_attribute *rows = calloc(ROWS, sizeof *rows);
    const struct scstu_attribute **pointers = calloc(ROWS, sizeof *pointers);
    const char **words = malloc(sizeof all_words);
    struct scstu_backstore_ops ops = plain();

    memcpy(names, all_names, sizeof all_names);
    memcpy(words, all_words, sizeof all_words);
    for (int i = 0; i < ROWS; i++, at += strlen(at) + 1) {
        rows[i].size = sizeof *rows;
        rows[i].name = at;
        rows[i].flags = SCSTU_CREATE_ONLY;
        rows[i].help = "what it means";
        pointers[i] = &rows[i];
    }
    rows[DEPTH].value_type = SCSTU_TYPE_NUMBER;
    rows[DEPTH].minimum = 1;
    rows[DEPTH].maximum = 64;
    rows[DEPTH].default_value = "8";
    rows[RATIO].value_type = SCSTU_TYPE_SIGNED;
    rows[RATIO].minimum = (uint64_t)-5;
    rows[RATIO].maximum = 5;
    rows[CACHE].value_type = SCSTU_TYPE_SIZE;
    rows[CACHE].default_value = "1M";
    rows[MODE].value_type = SCSTU_TYPE_WORD;
    rows[MODE].words = words;
    rows[MODE].word_count = 2;
    rows[LABEL].value_type = SCSTU_TYPE_TEXT;
    rows[LABEL].maximum = 16;
    rows[DELAY].value_type = SCSTU_TYPE_NUMBER;
    rows[DELAY].maximum = 1000;
    rows[DELAY].flags = SCSTU_WRITABLE;
    rows[DELAY].set = set_delay;
    rows[ERRORS].value_type = SCSTU_TYPE_TEXT;
    rows[ERRORS].maximum = 16;
    rows[ERRORS].flags = SCSTU_READABLE;
    rows[ERRORS].default_value = "closed";
    rows[ERRORS].get = get_errors;
    ops.open = open_told;
    ops.attributes = pointers;
    ops.attribute_count = ROWS;
    GOOD(scstu_backstore_register(handle, &ops));
    memset(names, 'x', sizeof all_names);
    memset(rows, 0xff, ROWS * sizeof *rows);
    memset(pointers, 0xff, ROWS * sizeof *pointers);
    memset(words, 0xff, sizeof all_words);
    free(names);
    free(rows);
    free(pointers);
    free(words);
}

static struct scstu *with_handler(void)
{
    struct scstu *handle = made();

    registered(handle);
    return handle;
}

static void is_at(int line, struct scstu *handle, const char *name, const char *wanted)
{
    char path[128], value[128] = "";

    snprintf(path, sizeof path, "devices/disk/%s", name);
    good_at(line, scstu_get(handle, path, value, sizeof value, NULL), path);
    if (strcmp(value, wanted)) {
        fprintf(stderr, "line %d: %s is \"%s\", wanted \"%s\"\n", line, name, value, wanted);
        mistakes++;
    }
}

#define IS(name, wanted) is_at(__LINE__, handle, name, wanted)

static int joined(void *context, const char *text)
{
    char *all = context;

    snprintf(all + strlen(all), 4096 - strlen(all), "%s\n", text);
    return 0;
}

static const char *saved(struct scstu *handle, char *text)
{
    *text = 0;
    GOOD(scstu_save(handle, joined, text));
    return text;
}

static void parameters_are_checked_before_opening(void)
{
    struct scstu *handle = with_handler();
    static const char file[] = "HANDLER plain {\n DEVICE disk {\n  queue_depth 65\n }\n}\n";

    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", "queue_depth=0"),
           "queue_depth: \"0\" is not a number from 1 to 64");
    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", "ratio=-6"), "ratio: \"-6\" is not");
    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", "mode=any"), "mode: \"any\" is not none or some");
    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", "label=0123456789abcdefg"), "label: ");
    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", "delay_us=1001"), "delay_us: ");
    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", "error_text=x"), "error_text can be read only");
    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", "queue_dept=1"), "has no attribute queue_dept;");
    EXPECT(EINVAL, scstu_add_device, (handle, "plain", "disk", "mode=none; mode=none"), "mode is given twice");
    EXPECT(EINVAL, scstu_do, (handle, "handlers/plain", "add_device disk queue_depth=99"), "queue_depth: ");
    EXPECT(EINVAL, scstu_load, (handle, file, 0), "3:3: ");
    EXPECT(EINVAL, scstu_add_device, (handle, "vdisk_ram", "disk", "size=1M; queue_depth=1"), "no attribute");
    TRUE(opens == 0);
    GOOD(scstu_add_device(handle, "plain", "disk", NULL));
    TRUE(opens == 1 && depth == 8 && ratio == 0 && cache == 1 << 20 && mode == 0 && !*label && delay == 0);
    GOOD(scstu_remove_device(handle, "disk"));
    GOOD(scstu_do(handle, "handlers/plain",
                  "add_device disk queue_depth=0x10; ratio=-3; cache_bytes=2K; mode=some; delay_us=7"));
    TRUE(opens == 2 && depth == 16 && (int64_t)ratio == -3 && cache == 2048 && mode == 1 && delay == 7);
    IS("queue_depth", "16");
    IS("ratio", "-3");
    IS("cache_bytes", "2048");
    IS("mode", "some");
    IS("delay_us", "7");
    TRUE(done(handle) == 0);
}

static int number_of_rows;

static int count_rows(void *context, const char *name, uint32_t kind)
{
    static const char *const names = " queue_depth ratio cache_bytes mode label delay_us error_text ";
    char word[64];

    (void)context;
    snprintf(word, sizeof word, " %s ", name);
    number_of_rows += kind == SCSTU_ATTRIBUTE && strstr(names, word);
    return 0;
}

static int describe(void *context, const struct scstu_description *told)
{
    switch (*(int *)context) {
    case DEPTH:
        TRUE(told->value_type == SCSTU_TYPE_NUMBER && told->minimum == 1 && told->maximum == 64);
        TRUE(!strcmp(told->default_value, "8") && !strcmp(told->value, "9"));
        TRUE(told->flags == (SCSTU_READABLE | SCSTU_CREATE_ONLY | SCSTU_SAVED));
        TRUE(!strcmp(told->help, "what it means"));
        break;
    case RATIO:
        TRUE(told->value_type == SCSTU_TYPE_SIGNED && (int64_t)told->minimum == -5 && told->maximum == 5);
        break;
    case CACHE:
        TRUE(told->value_type == SCSTU_TYPE_SIZE && !strcmp(told->default_value, "1048576"));
        break;
    case MODE:
        TRUE(told->value_type == SCSTU_TYPE_WORD && told->word_count == 2 && !strcmp(told->words[1], "some"));
        break;
    case LABEL:
        TRUE(told->value_type == SCSTU_TYPE_TEXT && told->maximum == 16);
        break;
    case DELAY:
        TRUE(told->flags == (SCSTU_READABLE | SCSTU_WRITABLE));
        break;
    default:
        TRUE(told->flags == SCSTU_READABLE && !strcmp(told->value, "seven"));
    }
    return 0;
}

static void they_are_in_the_tree(void)
{
    static const char *const names[] = { "queue_depth", "ratio",    "cache_bytes", "mode",
                                         "label",       "delay_us", "error_text" };
    struct scstu *handle = with_handler();
    char path[64], usage[4096];

    GOOD(scstu_get(handle, "handlers/plain/mgmt", usage, sizeof usage, NULL));
    /* Parameters in the list, and all of it in words. */
    TRUE(strstr(usage, ", queue_depth, ratio, cache_bytes, mode, label, delay_us\n"));
    TRUE(strstr(usage, "  queue_depth (a number from 1 to 64; default 8; given when the device is made): what it"));
    TRUE(strstr(usage, "  error_text (printable text of at most 16 bytes; default closed; to be read): what"));
    GOOD(scstu_add_device(handle, "plain", "disk", "queue_depth=9"));
    GOOD(scstu_list(handle, "devices/disk", count_rows, NULL));
    TRUE(number_of_rows == ROWS);
    for (int row = 0; row < ROWS; row++) {
        snprintf(path, sizeof path, "devices/disk/%s", names[row]);
        GOOD(scstu_describe(handle, path, describe, &row));
    }
    EXPECT(EIO, scstu_set, (handle, "devices/disk/queue_depth", "9"), "cannot be written");
    EXPECT(EIO, scstu_set, (handle, "devices/disk/error_text", "9"), "cannot be written");
    EXPECT(EINVAL, scstu_set, (handle, "devices/disk/delay_us", "1001"), "delay_us: \"1001\" is not");
    TRUE(sets == 0);
    GOOD(scstu_set(handle, "devices/disk/delay_us", "0x20"));
    TRUE(sets == 1 && delay == 32 && !strcmp(delay_text, "32"));
    GOOD(scstu_set(handle, "devices/disk/delay_us", "32"));
    TRUE(sets == 1);
    fails_at_99 = 1;
    EXPECT(ENODEV, scstu_set, (handle, "devices/disk/delay_us", "99"), "delay_us: ");
    IS("delay_us", "32");
    fails_at_99 = 0;
    /* What is closed learns of it when it is opened. */
    sets = 0;
    GOOD(scstu_set(handle, "devices/disk/active", "0"));
    GOOD(scstu_set(handle, "devices/disk/delay_us", "33"));
    IS("error_text", "closed");
    TRUE(sets == 0);
    GOOD(scstu_set(handle, "devices/disk/active", "1"));
    TRUE(sets == 0 && delay == 33);
    IS("error_text", "seven");
    is_unknown = 1;
    IS("error_text", "closed");
    is_unknown = 0;
    TRUE(done(handle) == 0);
}

static void they_are_in_the_file(void)
{
    static const char more[] = "HANDLER plain {\n DEVICE disk {\n  delay_us 44\n }\n}\n",
                      fixed[] = "HANDLER plain {\n DEVICE disk {\n  queue_depth 9\n }\n}\n",
                      told[] = "HANDLER plain {\n DEVICE disk {\n  error_text closed\n }\n}\n",
                      fails[] = "HANDLER plain {\n DEVICE disk {\n  delay_us 50\n }\n DEVICE two {\n"
                                "  delay_us 99\n }\n}\n",
                      less[] = "HANDLER plain {\n DEVICE disk {\n  queue_depth 12\n  label \"a b\"\n }\n}\n";
    struct scstu *handle = with_handler(), *copy = with_handler();
    char text[4096], again[4096], changes[4096] = "";

    GOOD(scstu_add_device(handle, "plain", "disk", "queue_depth=12; delay_us=5"));
    GOOD(scstu_remove_device(handle, "disk"));
    GOOD(scstu_load(handle, "HANDLER plain {\n DEVICE disk {\n  queue_depth 12\n  delay_us 5\n"
                            "  label \"a b\"\n }\n}\n", 0));
    TRUE(depth == 12 && delay == 5 && !strcmp(label, "a b"));
    saved(handle, text);
    TRUE(strstr(text, "\t\tdelay_us 5\n") && strstr(text, "\t\tlabel \"a b\"\n"));
    TRUE(strstr(text, "\t\tqueue_depth 12\n") && !strstr(text, "mode") && !strstr(text, "error_text"));
    depth = delay = 0;
    GOOD(scstu_load(copy, text, 0));
    TRUE(depth == 12 && delay == 5 && !strcmp(saved(copy, again), text));
    GOOD(scstu_free(copy));

    GOOD(scstu_plan(handle, more, 0, joined, changes));
    TRUE(strstr(changes, "delay_us") && strstr(changes, "5") && strstr(changes, "44"));
    TRUE(delay == 5);
    EXPECT(EINVAL, scstu_load, (handle, fixed, 0), "can be set only when the device is made");
    EXPECT(EINVAL, scstu_load, (handle, told, 0), "error_text can be read only");
    GOOD(scstu_load(handle, more, 0));
    TRUE(delay == 44);
    /* What was told already is told the old value again. */
    GOOD(scstu_add_device(handle, "plain", "two", "delay_us=1"));
    sets = 0;
    fails_at_99 = 1;
    EXPECT(ENODEV, scstu_load, (handle, fails, 0), "delay_us: ");
    fails_at_99 = 0;
    IS("delay_us", "44");
    TRUE(sets == 3 && delay == 44);
    GOOD(scstu_remove_device(handle, "two"));
    GOOD(scstu_load(handle, less, SCSTU_LOAD_EXACT));
    IS("delay_us", "0");
    TRUE(delay == 0);
    TRUE(done(handle) == 0);
}

/* In one list of changes: opened, and then told. */
static void what_is_opened_anew_learns_of_what_comes_after(void)
{
    struct scstu *handle = with_handler();

    GOOD(scstu_add_device(handle, "plain", "disk", "delay_us=1"));
    GOOD(scstu_set(handle, "devices/disk/active", "0"));
    GOOD(scstu_load(handle, "HANDLER plain {\n DEVICE disk {\n  active 1\n  delay_us 2\n }\n}\n", 0));
    IS("active", "1");
    IS("delay_us", "2");
    TRUE(delay == 2);
    TRUE(done(handle) == 0);
}

/* The list is kept once, whoever declares it how often. */
static void declaring_again_costs_nothing(void)
{
    for (int i = 0; i < 3000; i++) {
        struct scstu *handle = with_handler();

        GOOD(scstu_backstore_unregister(handle, "plain"));
        registered(handle);
        GOOD(scstu_free(handle));
        if (mistakes)
            return;
    }
}

int main(void)
{
    parameters_are_checked_before_opening();
    they_are_in_the_tree();
    they_are_in_the_file();
    what_is_opened_anew_learns_of_what_comes_after();
    declaring_again_costs_nothing();
    return mistakes != 0;
}
