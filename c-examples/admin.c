/*
 * Configures a target from a text, tells events as they come, and takes commands from standard input:
 *
 *   get PATH | set PATH VALUE | list PATH | describe PATH | do OBJECT COMMAND | plan | save
 *   sessions | kick NUMBER | statistics | quit
 *
 * plan tells what it would take to get back to the text.
 */
#include <scstu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGET "iqn.2026-01.org.example:admin"

static const char configuration[] =
    "HANDLER vdisk_ram {\n"
    "    DEVICE disk1 {\n"
    "        size 16M\n"
    "    }\n"
    "}\n"
    "TARGET_DRIVER iscsi {\n"
    "    enabled 1\n"
    "    TARGET " TARGET " {\n"
    "        enabled 1\n"
    "        LUN 0 disk1\n"
    "    }\n"
    "}\n";

static void complain(void)
{
    printf("error: %s: %s\n", scstu_error_call(), scstu_error());
}

/* Called on a thread of the instance; printf locks its stream. */
static void on_event(void *context, const struct scstu_event *event)
{
    static const char *const names[] = { "?", "session opened", "session closed", "login refused",
                                         "unit reset", "capacity changed", "backstore failed" };

    (void)context;
    printf("event: %s %s%s%s %s\n", names[event->kind < 7 ? event->kind : 0], event->device,
           event->initiator, *event->initiator ? "" : event->peer, event->text);
    fflush(stdout);
}

static int on_text(void *context, const char *text)
{
    (void)context;
    printf("%s\n", text);
    return 0;
}

static int on_entry(void *context, const char *name, uint32_t kind)
{
    static const char marks[] = "?/ @";

    (void)context;
    printf("  %s%c\n", name, marks[kind < 4 ? kind : 0]);
    return 0;
}

static int on_description(void *context, const struct scstu_description *about)
{
    (void)context;
    printf("  %s: %s\n  values: %s\n  default: %s\n  now: %s\n  %s%s%s%s\n", about->name, about->help,
           about->values, about->default_value, about->value ? about->value : "",
           about->flags & SCSTU_READABLE ? "readable " : "", about->flags & SCSTU_WRITABLE ? "writable " : "",
           about->flags & SCSTU_SAVED ? "saved " : "", about->flags & SCSTU_CREATE_ONLY ? "create-only " : "");
    return 0;
}

static int on_session(void *context, const struct scstu_session *session)
{
    (void)context;
    printf("  session %llu: %s from %s at %s, %llu reads, %llu writes\n", (unsigned long long)session->id,
           session->initiator, session->peer, session->target,
           (unsigned long long)session->traffic.read_commands,
           (unsigned long long)session->traffic.write_commands);
    return 0;
}

static int statistics(struct scstu *instance)
{
    struct scstu_statistics s = { .size = sizeof s };
    int result = scstu_read_statistics(instance, &s);

    if (!result)
        printf("  %llu sessions, %llu devices, %llu targets, %llu of %llu workers idle, %llu bytes read\n",
               (unsigned long long)s.sessions, (unsigned long long)s.devices, (unsigned long long)s.targets,
               (unsigned long long)s.idle_workers, (unsigned long long)s.workers,
               (unsigned long long)s.traffic.read_bytes);
    return result;
}

/* Value of any length: asked for its length first. */
static int get(struct scstu *instance, const char *path)
{
    size_t need;
    char *value;
    int result = scstu_get(instance, path, NULL, 0, &need);

    if (result)
        return result;
    value = malloc(need);
    result = value ? scstu_get(instance, path, value, need, NULL) : -1;
    if (!result)
        printf("  %s\n", value);
    free(value);
    return result;
}

static int carry_out(struct scstu *instance, char *line)
{
    char *word = strtok(line, " "), *first = strtok(NULL, " "), *rest = strtok(NULL, "");

    if (!word)
        return 0;
    if (!strcmp(word, "get"))
        return get(instance, first);
    if (!strcmp(word, "set"))
        return scstu_set(instance, first, rest);
    if (!strcmp(word, "list"))
        return scstu_list(instance, first ? first : "", on_entry, NULL);
    if (!strcmp(word, "describe"))
        return scstu_describe(instance, first, on_description, NULL);
    if (!strcmp(word, "do"))
        return scstu_do(instance, first, rest);
    if (!strcmp(word, "plan"))
        return scstu_plan(instance, configuration, SCSTU_LOAD_EXACT, on_text, NULL);
    if (!strcmp(word, "save"))
        return scstu_save(instance, on_text, NULL);
    if (!strcmp(word, "sessions"))
        return scstu_sessions(instance, on_session, NULL);
    if (!strcmp(word, "kick"))
        return scstu_kick(instance, first ? strtoull(first, NULL, 10) : 0);
    if (!strcmp(word, "statistics"))
        return statistics(instance);
    printf("  what is %s?\n", word);
    return 0;
}

int main(void)
{
    struct scstu_options options = { .size = sizeof options, .event = on_event };
    struct scstu *instance;
    char portal[64], line[4096];

    if (scstu_new(&options, &instance) || scstu_load(instance, configuration, 0) || scstu_start(instance) ||
        scstu_listen(instance, "127.0.0.1:0", portal, sizeof portal))
        return complain(), 1;
    printf("iscsi://%s/%s/0\n", portal, TARGET);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (!strcmp(line, "quit"))
            break;
        if (carry_out(instance, line) < 0)
            complain();
        printf("done\n");
        fflush(stdout);
    }
    if (scstu_stop(instance, 1000) || scstu_free(instance))
        return complain(), 1;
    return 0;
}
