// SPDX-License-Identifier: GPL-2.0
/* Machine sizes, aligned regions and the pattern that fills them. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "collapse.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define VERSION_BITS	24
#define VERSION_MASK	((1ull << VERSION_BITS) - 1)
#define KSFT_SKIP	4

size_t page_size, pmd_size, pmd_pages;

void die(const char *fmt, ...)
{
	va_list ap;

	printf("# set-up failed: ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	abort();
}

void must(int err, const char *what)
{
	if (err < 0)
		die("%s: %s", what, strerror(-err));
}

void advise(void *start, size_t len, int advice)
{
	if (madvise(start, len, advice))
		die("madvise(%d): %s", advice, strerror(errno));
}

void collapse_init(void)
{
	if (page_size)
		return;
	page_size = sysconf(_SC_PAGESIZE);
	if (!knob_there("hpage_pmd_size")) {
		printf("1..0 # SKIP no transparent huge pages in this kernel: build with TRANSPARENT_HUGEPAGE\n");
		exit(KSFT_SKIP);
	}
	pmd_size = knob_num("hpage_pmd_size");
	pmd_pages = pmd_size / page_size;
	knobs_save();
}

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

int late(const char *fmt, ...)
{
	va_list ap;

	printf("# LATE: ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	return -ETIMEDOUT;
}

void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000l };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static char *guarded(char *raw, size_t raw_len, size_t nr_pmds)
{
	size_t len = nr_pmds * pmd_size;
	uintptr_t base = (uintptr_t)raw + page_size;
	char *start = (char *)((base + pmd_size - 1) / pmd_size * pmd_size);
	char *low = start - page_size, *high = start + len + page_size;

	if (low > raw)
		munmap(raw, low - raw);
	if (raw + raw_len > high)
		munmap(high, raw + raw_len - high);
	if (mprotect(start, len, PROT_READ | PROT_WRITE))
		die("mprotect of %zu bytes: %s", len, strerror(errno));
	return start;
}

char *region_map(size_t nr_pmds)
{
	size_t raw_len = (nr_pmds + 1) * pmd_size + 2 * page_size;
	char *raw = mmap(NULL, raw_len, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (raw == MAP_FAILED)
		die("mmap of %zu bytes: %s", raw_len, strerror(errno));
	return guarded(raw, raw_len, nr_pmds);
}

char *region_map_at(void *addr, size_t nr_pmds)
{
	size_t raw_len = nr_pmds * pmd_size + 2 * page_size;
	char *want = (char *)addr - page_size;
	char *raw = mmap(want, raw_len, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			 MAP_FIXED_NOREPLACE, -1, 0);

	if (raw != want)
		die("mmap of %zu bytes at %p: %s", raw_len, addr, strerror(errno));
	return guarded(raw, raw_len, nr_pmds);
}

void region_unmap(char *start, size_t nr_pmds)
{
	munmap(start - page_size, nr_pmds * pmd_size + 2 * page_size);
}

uint64_t pattern_word(const void *addr, uint32_t version)
{
	if (!version)
		return 0;
	return ((uintptr_t)addr >> 3) << VERSION_BITS | (version & VERSION_MASK);
}

void fill(char *start, size_t len, uint32_t version)
{
	uint64_t *w = (uint64_t *)start, *end = (uint64_t *)(start + len);

	for (; w < end; w++)
		*(volatile uint64_t *)w = pattern_word(w, version);
}

void fill_small(char *start, size_t len, uint32_t version)
{
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		die("PR_SET_THP_DISABLE: %s", strerror(errno));
	fill(start, len, version);
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
}

static int bad_word(const void *addr, uint64_t want, uint64_t got)
{
	const char *kind = "foreign";
	uint64_t same_address = (want ^ got) >> VERSION_BITS;

	if (!got)
		kind = "zero";
	else if (!same_address)
		kind = "stale";
	printf("# wrong data at %p: %s value %#llx (version %llu), expected %#llx (version %llu)\n",
	       addr, kind, (unsigned long long)got,
	       (unsigned long long)(got & VERSION_MASK),
	       (unsigned long long)want,
	       (unsigned long long)(want & VERSION_MASK));
	fflush(stdout);
	return -EIO;
}

int verify_home(const char *start, const char *home, size_t len, uint32_t version)
{
	size_t off;

	for (off = 0; off < len; off += sizeof(uint64_t)) {
		uint64_t got = *(const volatile uint64_t *)(start + off);
		uint64_t want = pattern_word(home + off, version);

		if (got != want)
			return bad_word(start + off, want, got);
	}
	return 0;
}

int verify(const char *start, size_t len, uint32_t version)
{
	return verify_home(start, start, len, version);
}

int verify_zero(const char *start, size_t len)
{
	return verify_home(start, start, len, 0);
}

void stamp(char *page, uint32_t version)
{
	size_t at[] = { 0, page_size / 2, page_size - sizeof(uint64_t) };
	size_t i;

	for (i = 0; i < 3; i++)
		*(volatile uint64_t *)(page + at[i]) =
			pattern_word(page + at[i], version);
}

int stamp_check(const char *page, uint32_t version)
{
	size_t at[] = { 0, page_size / 2, page_size - sizeof(uint64_t) };
	size_t i;

	for (i = 0; i < 3; i++) {
		uint64_t got = *(const volatile uint64_t *)(page + at[i]);
		uint64_t want = pattern_word(page + at[i], version);

		if (got != want)
			return bad_word(page + at[i], want, got);
	}
	return 0;
}

int64_t stamp_version(const char *page)
{
	uint32_t version = *(const volatile uint64_t *)page & VERSION_MASK;
	int err = stamp_check(page, version);

	return err ? err : (int64_t)version;
}
