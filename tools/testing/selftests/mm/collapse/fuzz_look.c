// SPDX-License-Identifier: GPL-2.0
/* What can be seen: content, against the model; and mappings, to be compared between kernels. */
#include <stdarg.h>

#include "fuzz.h"

#define MAX_FAULT	256

char *fault;

void look_init(void)
{
	fault = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fault == MAP_FAILED)
		abort();
}

uint64_t hash_add(uint64_t hash, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;

		memcpy(&word, p, 8);
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 29;
	}
	for (; len; p++, len--)
		hash = (hash ^ *p) * 0x100000001b3ull;
	return hash;
}

/* The first word is the one that counts. */
__attribute__((format(printf, 1, 2)))
static void failed(const char *fmt, ...)
{
	va_list ap;

	if (*fault)
		return;
	va_start(ap, fmt);
	vsnprintf(fault, MAX_FAULT, fmt, ap);
	va_end(ap);
}

static void look_at(unsigned int page, const char *when)
{
	bool or_zero, right = true, known;
	uint32_t version;
	int end;

	known = model_content(page, &version, &or_zero);
	end = check_page(page, version, or_zero, &right);
	if (!(model_ends(page, false) & 1u << end))
		failed("%s: reading page %u ended as %d", when, page, end);
	else if (end == TOUCHED && known && !right)
		failed("%s: page %u holds %#llx..., not version %u", when, page,
		       *(unsigned long long *)AT(page), version);
}

void look_accesses(const struct op *op, unsigned int i, long ends)
{
	char when[32];
	unsigned int k;

	snprintf(when, sizeof(when), "call %u", i);
	for (k = 0; k < op->n; k++) {
		unsigned int page = op->a + k * op->b, end = ends >> 2 * k & 3;

		if (!(model_ends(page, op->kind == OP_WRITE) & 1u << end))
			failed("%s: access to page %u ended as %u", when, page, end);
		if (op->kind == OP_WRITE && end == TOUCHED)
			model_wrote(page, op_version(i) + k);
		else if (op->kind == OP_READ && end == TOUCHED)
			look_at(page, when);
	}
}

static struct page_region regions[ARENA_PAGES];

uint64_t look_mapped(uint64_t hash, char *text, size_t len)
{
	int nr = scan_pages(regions, ARENA_PAGES), i;
	size_t at = 0;

	if (nr < 0)
		failed("PAGEMAP_SCAN: %s", strerror(errno));
	for (i = 0; i < nr; i++) {
		regions[i].start = (regions[i].start - ARENA) / PAGE;
		regions[i].end = (regions[i].end - ARENA) / PAGE;
		if (text && at + 40 < len)
			at += snprintf(text + at, len - at, " %llu-%llu:%llx", regions[i].start,
				       regions[i].end, regions[i].categories);
	}
	return hash_add(hash, regions, (nr < 0 ? 0 : nr) * sizeof(regions[0]));
}

bool look_swapped(void)
{
	int nr = scan_pages(regions, ARENA_PAGES), i;

	for (i = 0; i < nr; i++)
		if (regions[i].categories & PAGE_IS_SWAPPED)
			return true;
	return false;
}

long look_all(void)
{
	unsigned int page = 0, i;
	uint32_t version;
	bool or_zero;
	int nr;

	/* What a hole holds costs much to see, and is seen as soon as it is none. */
	nr = scan_pages(regions, ARENA_PAGES);
	for (i = 0; (int)i < nr && !*fault; i++) {
		unsigned int start = (regions[i].start - ARENA) / PAGE;
		unsigned int end = (regions[i].end - ARENA) / PAGE;

		for (; page < start; page++)
			if (model_content(page, &version, &or_zero) && version)
				look_at(page, "at the end");
		for (; page < end; page++)
			if (regions[i].categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_GUARD) ||
			    (model_content(page, &version, &or_zero) && version))
				look_at(page, "at the end");
	}
	for (; page < ARENA_PAGES; page++)
		if (model_content(page, &version, &or_zero) && version)
			look_at(page, "at the end");
	return *fault != 0;
}

/*
 * Left out: names and inodes of files, and which pages were referenced: the
 * emulated processor sets accessed bits when it fills its TLB, at no certain time.
 */
uint64_t look_smaps(uint64_t hash, bool print)
{
	static char text[1 << 16];
	int fd = open("/proc/self/smaps", O_RDONLY);
	char *line, *next;
	unsigned long lo, hi;
	bool inside = false;
	size_t len = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += n;
	close(fd);
	text[len] = 0;
	for (line = text; *line; line = next) {
		next = strchrnul(line, '\n');
		if (*next)
			*next++ = 0;
		if (line[0] < 'A' || line[0] > 'Z') {
			if (sscanf(line, "%lx-%lx", &lo, &hi) != 2)
				continue;
			inside = lo >= ARENA && lo < ARENA + ARENA_PAGES * PAGE;
			if (inside) {
				/* Addresses, rights and offset. */
				char *end = strchr(strchr(strchr(line, ' ') + 1, ' ') + 1, ' ');

				if (end)
					*end = 0;
			}
		}
		if (!inside || !strncmp(line, "Referenced:", 11))
			continue;
		hash = hash_add(hash, line, strlen(line));
		if (print && !strstr(line, " 0 kB"))
			printf("#    %s\n", line);
	}
	return hash;
}
