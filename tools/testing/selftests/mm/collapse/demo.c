// SPDX-License-Identifier: GPL-2.0
/*
 * demo: watch 4 KiB pages become huge pages, through both doors.
 *
 * Anonymous memory, shared memory (a memfd) and a file on a disk, if ext4 is
 * mounted at /mnt/ext4: each is filled with a known pattern in small pages.
 * Then it is collapsed, once by madvise(MADV_COLLAPSE) and once by the
 * khugepaged thread, and a table shows what smaps, kpageflags, vmstat and
 * khugepaged's own counters say before and after, and whether every byte
 * survived, for the file also after it was read from the disk again. At the
 * end two refusals, each with its errno and what a program should do about it.
 *
 * Exit status: 0 all as expected, 1 something differs, 2 cannot run here.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "collapse.h"

#define PATIENCE_MS	300000
#define BAR		"----------------------------------------------------------------------------------------"

struct counter {
	const char *name;
	bool vmstat;
	/* Expected change per collapsed PMD by each door; -1: any. */
	int want[2];
};

static const struct counter counters[] = {
	{ "vmstat: thp_collapse_alloc",		true,	{ 1, 1 } },
	{ "vmstat: thp_collapse_alloc_failed",	true,	{ 0, 0 } },
	{ "vmstat: thp_scan_exceed_none_pte",	true,	{ 0, 0 } },
	{ "vmstat: thp_scan_exceed_swap_pte",	true,	{ 0, 0 } },
	{ "vmstat: thp_scan_exceed_share_pte",	true,	{ 0, 0 } },
	{ "khugepaged: pages_collapsed",	false,	{ 0, 1 } },
	{ "khugepaged: full_scans",		false,	{ 0, -1 } },
};
#define NR_COUNTERS	(sizeof(counters) / sizeof(counters[0]))

struct look {
	long huge_mib;
	long thp_pages;
	bool intact;
	long counter[NR_COUNTERS];
};

struct door {
	int (*collapse)(char *range, size_t len);
	struct look before, after;
	uint64_t ms;
	int err;
};

/* What is collapsed. A file is a quarter of the size: a disk is slow. */
static const struct memory {
	const char *what, *smaps;
	bool on_file;
	enum file_kind kind;
} memories[] = {
	{ "anonymous memory", "AnonHugePages", false, 0 },
	{ "shared memory (memfd)", "ShmemPmdMapped", true, MEMFD },
	{ "a file on ext4", "FilePmdMapped", true, EXT4_FILE },
};
#define NR_MEMORIES (sizeof(memories) / sizeof(memories[0]))

static const struct memory *memory;	/* the one of the moment */
static struct filemap file;
static size_t nr_pmds;
static int differences;

static const char *judge(bool ok)
{
	differences += !ok;
	return ok ? "ok" : "DIFFERS";
}

static long counter_read(const struct counter *c)
{
	const char *name = strchr(c->name, ' ') + 1;
	char path[64];

	if (c->vmstat)
		return vmstat(name);
	snprintf(path, sizeof(path), "khugepaged/%s", name);
	return knob_num(path);
}

static void look_at(const char *range, size_t len, struct look *look)
{
	size_t i;

	for (i = 0; i < NR_COUNTERS; i++)
		look->counter[i] = counter_read(&counters[i]);
	look->huge_mib = smaps_kb(0, range, len, memory->smaps) / 1024;
	look->thp_pages = count_thp_pages(0, range, len);
	look->intact = (memory->on_file ? file_verify(range, 0, len, 1) : verify(range, len, 1)) == 0;
}

/* ---- the two doors ---- */

static int by_madvise(char *range, size_t len)
{
	return collapse_settled(range, len);
}

static int by_khugepaged(char *range, size_t len)
{
	if (memory->on_file) {
		/* Of a file the thread makes huge pages; a fault maps them. */
		file_advise(&file);
		khugepaged_fast();
		return file_wait_huge(range, len, nr_pmds, PATIENCE_MS);
	}
	if (madvise(range, len, MADV_HUGEPAGE))
		return -errno;
	khugepaged_fast();
	return khugepaged_wait_huge(range, len, nr_pmds, PATIENCE_MS);
}

static void go_through(struct door *door)
{
	size_t len = nr_pmds * pmd_size;
	char *range;
	uint64_t start;

	if (memory->on_file) {
		file_setup(&file, memory->kind, nr_pmds, 1);
		range = file.mem;
	} else {
		range = region_map(nr_pmds);
		fill_small(range, len, 1);
	}
	look_at(range, len, &door->before);
	start = now_ms();
	door->err = door->collapse(range, len);
	door->ms = now_ms() - start;
	/* The last PMD may be huge a moment before the thread has counted it. */
	if (!door->err && door->collapse == by_khugepaged)
		door->err = khugepaged_passes(1, PATIENCE_MS);
	/* That wakes it once more: what it counts then is not the next one's. */
	if (door->collapse == by_khugepaged) {
		khugepaged_idle();
		khugepaged_wait_asleep(PATIENCE_MS);
	}
	look_at(range, len, &door->after);
	if (!memory->on_file) {
		region_unmap(range, nr_pmds);
		return;
	}
	door->after.intact &= file_reread(&file, 1) == 0;
	file_close(&file);
}

/* ---- the table ---- */

static void row_before_after(const char *name, const long *v, bool ok)
{
	printf("%-38s %9ld %9ld   %9ld %9ld   %s\n", name, v[0], v[1], v[2], v[3], judge(ok));
}

static void print_doors(const struct door *d)
{
	long mib = nr_pmds * pmd_size >> 20, pages = nr_pmds * pmd_pages;
	long huge[4] = { d[0].before.huge_mib, d[0].after.huge_mib,
			 d[1].before.huge_mib, d[1].after.huge_mib };
	long thp[4] = { d[0].before.thp_pages, d[0].after.thp_pages,
			d[1].before.thp_pages, d[1].after.thp_pages };
	char smaps[40];
	size_t i, k;

	printf("\n%ld MiB of %s, written as %zu KiB pages, collapsed to %zu MiB pages\n\n",
	       mib, memory->what, page_size >> 10, pmd_size >> 20);
	snprintf(smaps, sizeof(smaps), "smaps: %s, MiB", memory->smaps);
	printf("%-38s %19s   %19s\n", "", "MADV_COLLAPSE", "khugepaged thread");
	printf("%-38s %9s %9s   %9s %9s\n" BAR "\n", "", "before", "after", "before", "after");
	row_before_after(smaps, huge,
			 !huge[0] && huge[1] == mib && !huge[2] && huge[3] == mib);
	row_before_after("kpageflags: pages with KPF_THP", thp,
			 !thp[0] && thp[1] == pages && !thp[2] && thp[3] == pages);
	for (i = 0; i < NR_COUNTERS; i++) {
		const struct counter *c = &counters[i];
		long moved[2];
		bool ok = true;

		for (k = 0; k < 2; k++) {
			moved[k] = d[k].after.counter[i] - d[k].before.counter[i];
			/*
			 * Of a file the daemon counts those that it finds huge
			 * as well; and a page that is busy is another try.
			 */
			if (memory->on_file && c->want[k] > 0)
				ok &= moved[k] >= c->want[k] * (long)nr_pmds;
			else
				ok &= c->want[k] < 0 || moved[k] == c->want[k] * (long)nr_pmds;
		}
		if (moved[0] || moved[1] || !ok)
			printf("%-38s %+19ld   %+19ld   %s\n", c->name, moved[0], moved[1],
			       judge(ok));
	}
	printf("%-38s %9s %9s   %9s %9s   %s\n", "every byte right",
	       d[0].before.intact ? "yes" : "NO", d[0].after.intact ? "yes" : "NO",
	       d[1].before.intact ? "yes" : "NO", d[1].after.intact ? "yes" : "NO",
	       judge(d[0].before.intact && d[0].after.intact &&
		     d[1].before.intact && d[1].after.intact));
	printf("%-38s %17.2f s   %17.2f s\n", "time", d[0].ms / 1e3, d[1].ms / 1e3);
	for (k = 0; k < 2; k++)
		if (d[k].err)
			printf("%s: %s   %s\n", k ? "khugepaged" : "MADV_COLLAPSE",
			       strerror(-d[k].err), judge(false));
}

/* ---- refusals ---- */

static void refusal(const char *what, int err, int want)
{
	printf("%-46s %-28s   %s\n", what, err ? strerrorname_np(-err) : "success",
	       judge(err == want));
}

static void print_refusals(void)
{
	char *range = region_map(1);
	struct pin pin;
	int err;

	fill_small(range, pmd_size, 1);
	printf("\n%-46s %s\n" BAR "\n", "When MADV_COLLAPSE refuses", "it returns");
	err = pin_vmsplice(&pin, range);
	if (err)
		die("vmsplice: %s", strerror(-err));
	refusal("one page is pinned (sits in a pipe)", collapse(range, pmd_size), -EAGAIN);
	pin_release(&pin);
	refusal("  the pin is gone: try again", collapse_settled(range, pmd_size), 0);
	region_unmap(range, 1);

	range = region_map(1);
	fill_small(range, pmd_size, 1);
	if (madvise(range, pmd_size, MADV_NOHUGEPAGE))
		die("MADV_NOHUGEPAGE: %s", strerror(errno));
	refusal("the range is marked MADV_NOHUGEPAGE", collapse(range, pmd_size), -EINVAL);
	if (madvise(range, pmd_size, MADV_HUGEPAGE))
		die("MADV_HUGEPAGE: %s", strerror(errno));
	refusal("  MADV_HUGEPAGE takes the mark away", collapse_settled(range, pmd_size), 0);
	region_unmap(range, 1);

	printf("\nEAGAIN  for now: retry once the I/O is done, or leave the range to khugepaged.\n"
	       "ENOMEM, EBUSY  no huge page free, cgroup at its limit: retry when there is memory.\n"
	       "EINVAL  will not change by itself: the memory's set-up forbids it. Do not retry.\n"
	       "The memory stays as it was after a refusal; using %zu KiB pages is always correct.\n",
	       page_size >> 10);
}

/* ---- front ---- */

/* Known only if the kernel carries its configuration. */
static const char *implementation(void)
{
	FILE *f = popen("zcat /proc/config.gz 2>/dev/null", "r");
	const char *name = NULL;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (!strcmp(line, "CONFIG_KHUGEPAGED_RUST=y\n"))
			name = "Rust (CONFIG_KHUGEPAGED_RUST)";
		else if (!name && !strcmp(line, "CONFIG_TRANSPARENT_HUGEPAGE=y\n"))
			name = "C (mm/khugepaged.c)";
	}
	if (f)
		pclose(f);
	return name;
}

static void usage(FILE *out)
{
	fprintf(out,
		"usage: demo [-s MIB]\n"
		"Collapses anonymous memory, shared memory and a file into huge pages through\n"
		"MADV_COLLAPSE and through khugepaged, and shows what happened. Needs root; puts\n"
		"every knob back.\n\n"
		"  -s, --size MIB   memory per door, a multiple of the huge page size (default 256,\n"
		"                   or two huge pages); shared memory and files take a quarter of it\n"
		"  -h, --help       this text\n\n"
		"Exit status: 0 all as expected, 1 something differs, 2 cannot run here.\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	unsigned long mib = 0;
	struct utsname uts;
	const char *impl;
	size_t i, all;
	char *end;
	int opt;

	while ((opt = getopt_long(argc, argv, "s:h", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			mib = strtoul(optarg, &end, 10);
			if (*end || !mib) {
				fprintf(stderr, "demo: --size wants MiB, not \"%s\"\n", optarg);
				return 2;
			}
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (geteuid()) {
		fprintf(stderr, "demo: run as root (it reads kpageflags and sets khugepaged's knobs)\n");
		return 2;
	}
	if (!knob_there("hpage_pmd_size")) {
		fprintf(stderr, "demo: this kernel has no transparent huge pages (TRANSPARENT_HUGEPAGE)\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	collapse_init();
	if (!mib)
		mib = pmd_size > 128 << 20 ? 2 * pmd_size >> 20 : 256;
	nr_pmds = (mib << 20) / pmd_size;
	if (!nr_pmds || (mib << 20) % pmd_size) {
		fprintf(stderr, "demo: --size wants a multiple of %zu MiB\n", pmd_size >> 20);
		return 2;
	}
	if (meminfo_kb("MemAvailable") / 1024 < (long)mib + 64) {
		fprintf(stderr, "demo: %lu MiB and a reserve do not fit into %ld MiB: use --size\n",
			mib, meminfo_kb("MemAvailable") / 1024);
		return 2;
	}
	knobs_baseline();

	uname(&uts);
	impl = implementation();
	printf("Linux %s %s%s%s\n", uts.release, uts.machine, impl ? ", khugepaged in " : "",
	       impl ? impl : "");
	all = nr_pmds;
	for (i = 0; i < NR_MEMORIES; i++) {
		struct door doors[2] = {
			{ .collapse = by_madvise }, { .collapse = by_khugepaged },
		};

		memory = &memories[i];
		if (memory->on_file && file_kind_missing(memory->kind)) {
			printf("\n%s: not shown, %s\n", memory->what, file_kind_missing(memory->kind));
			continue;
		}
		nr_pmds = memory->on_file && all > 4 ? all / 4 : all;
		go_through(&doors[0]);
		go_through(&doors[1]);
		print_doors(doors);
	}
	print_refusals();
	printf("\n%s\n", differences ? "SOMETHING DIFFERS from what is expected, see above." :
	       "All as expected.");
	return differences != 0;
}
