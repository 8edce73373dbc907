// SPDX-License-Identifier: GPL-2.0
/* huge_memory trace events without what differs from boot to boot. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collapse.h"

struct page_map {
	uint64_t *pfn;
	size_t nr;
};

static struct page_map map_before, map_after;
static const char *region;
static char mm_self[32];

static void map_read(struct page_map *map, const char *start, size_t len)
{
	struct page_info info;

	free(map->pfn);
	map->nr = len / page_size;
	map->pfn = calloc(map->nr, sizeof(*map->pfn));
	for (size_t i = 0; map->pfn && i < map->nr; i++)
		if (!page_info(0, start + i * page_size, &info))
			map->pfn[i] = info.pfn;
}

void normal_before(const char *start, size_t len)
{
	region = start;
	map_read(&map_before, start, len);
}

void normal_after(const char *start, size_t len)
{
	map_read(&map_after, start, len);
}

static int map_find(const struct page_map *map, uint64_t pfn)
{
	size_t i;

	for (i = 0; i < map->nr; i++)
		if (map->pfn[i] == pfn)
			return i;
	return -1;
}

static void print_pfn(const char *hex)
{
	uint64_t pfn = strtoull(hex, NULL, 16);
	int before = map_find(&map_before, pfn), after = map_find(&map_after, pfn);

	if (pfn == UINT64_MAX)
		printf("none");
	else if (before >= 0)
		printf("page %d", before);
	else if (after >= 0)
		printf("new page %d", after);
	else
		printf("elsewhere");
}

static void print_mm(const char *text)
{
	printf("self");
}

/* Below a mapping of the region; a file is where its mapping is. */
static void print_address(const char *hex)
{
	printf("page %ld", ((long)strtoull(hex, NULL, 16) - (long)region) / (long)page_size);
}

/* Names that the library made up, and those of files without a name. */
static void print_file(const char *name)
{
	bool made_up = name[0] == '#' || !strncmp(name, "collapse.", 9);

	printf("%.*s", made_up ? 4 : (int)strcspn(name, ",\n "), made_up ? "file" : name);
}

/* "event: mm=..., scan_pfn=0x..., rest" with what varies replaced. */
static void print_event(const char *who, const char *event)
{
	static const struct {
		const char *key;
		void (*print)(const char *value);
	} fields[] = {
		{ "mm=", print_mm }, { "scan_pfn=", print_pfn }, { "hpage_pfn=", print_pfn },
		{ "addr=", print_address }, { "filename=", print_file },
	};
	const size_t nr = sizeof(fields) / sizeof(fields[0]);
	const char *p = event;
	size_t i, len;

	printf("  %s ", who);
	while (*p) {
		for (i = 0; i < nr; i++) {
			len = strlen(fields[i].key);
			if (!strncmp(p, fields[i].key, len))
				break;
		}
		if (i == nr || (p > event && p[-1] != ' ')) {
			putchar(*p++);
			continue;
		}
		printf("%s", fields[i].key);
		fields[i].print(p + len);
		p += strcspn(p, ",\n ");
	}
	putchar('\n');
}

/* Where the event's name starts in a line of the trace, or NULL. */
static char *event_of(char *line, pid_t *pid)
{
	char *at = strstr(line, ": mm_"), *bracket = strstr(line, " [");
	char *dash = bracket;

	if (!at || !bracket)
		return NULL;
	while (dash > line && *dash != '-')
		dash--;
	*pid = atoi(dash + 1);
	return at + 2;
}

static bool mm_is(const char *event, const char *mm)
{
	const char *p = strstr(event, "mm=");

	return p && !strncmp(p + 3, mm, strlen(mm));
}

/*
 * Prints the events of this mm. An isolation does not say whose mm it is about, but the event that follows
 * it from the same task does: it is kept back until then.
 */
void normal_print(char *text)
{
	pid_t daemon = khugepaged_pid(), pid;
	char *line, *event, *save = NULL, *held = NULL;
	const char *who;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		event = line[0] == '#' ? NULL : event_of(line, &pid);
		if (!event || (pid != getpid() && pid != daemon))
			continue;
		who = pid == daemon ? "khugepaged" : "caller";
		if (!strstr(event, "mm=")) {
			held = event;
			continue;
		}
		if (mm_is(event, mm_self)) {
			if (held)
				print_event(who, held);
			print_event(who, event);
		}
		held = NULL;
	}
}

/* The name is hashed, but always alike within one boot. */
void normal_learn_mm(void)
{
	char *start = region_map(1), *text, *p;
	int err;

	fill_small(start, pmd_size, 1);
	err = trace_start("huge_memory");
	if (!err)
		err = collapse(start, pmd_size);
	trace_stop();
	text = trace_take();
	p = text ? strstr(text, "mm_khugepaged_scan_pmd: mm=") : NULL;
	if (err || !p)
		die("no mm_khugepaged_scan_pmd event from MADV_COLLAPSE: %s", strerror(-err));
	p = strstr(p, "mm=") + 3;
	snprintf(mm_self, sizeof(mm_self), "%.*s", (int)strcspn(p, ","), p);
	free(text);
	region_unmap(start, 1);
}
