// SPDX-License-Identifier: GPL-2.0
/*
 * The text of a running program by huge pages: this one, copied to a file
 * system and run from there. Each of its pages has a function that gives a
 * number of its own, so that running it all is the check.
 */
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "harness.h"

#define NR_FUNCTIONS 1536	/* pages of 4 KiB: two whole PMDs wherever it starts */

typedef unsigned long fn_t(unsigned long);

#define FN(n) \
static __attribute__((noinline, aligned(4096), section(".text.pages"))) \
unsigned long f##n(unsigned long x) { return x * 33 + 0x##n; }
#define FN4(n) FN(n##0) FN(n##1) FN(n##2) FN(n##3)
#define FN16(n) FN4(n##0) FN4(n##1) FN4(n##2) FN4(n##3)
#define FN64(n) FN16(n##0) FN16(n##1) FN16(n##2) FN16(n##3)
#define FN256(n) FN64(n##0) FN64(n##1) FN64(n##2) FN64(n##3)
#define AT(n) f##n,
#define AT4(n) AT(n##0) AT(n##1) AT(n##2) AT(n##3)
#define AT16(n) AT4(n##0) AT4(n##1) AT4(n##2) AT4(n##3)
#define AT64(n) AT16(n##0) AT16(n##1) AT16(n##2) AT16(n##3)
#define AT256(n) AT64(n##0) AT64(n##1) AT64(n##2) AT64(n##3)

FN256(1) FN256(2) FN256(3) FN256(4) FN256(5) FN256(6)
static fn_t * const functions[NR_FUNCTIONS] = {
	AT256(1) AT256(2) AT256(3) AT256(4) AT256(5) AT256(6)
};

static unsigned long run_all(void)
{
	unsigned long sum = 1;
	size_t i;

	for (i = 0; i < NR_FUNCTIONS; i++)
		sum = ((fn_t * volatile *)functions)[i](sum);
	return sum;
}

/* The whole PMDs of these functions. */
static char *text_start;
static size_t text_pmds;

static void text_find(void)
{
	uintptr_t lo = UINTPTR_MAX, hi = 0;
	size_t i;

	for (i = 0; i < NR_FUNCTIONS; i++) {
		lo = (uintptr_t)functions[i] < lo ? (uintptr_t)functions[i] : lo;
		hi = (uintptr_t)functions[i] > hi ? (uintptr_t)functions[i] : hi;
	}
	lo = (lo + pmd_size - 1) / pmd_size * pmd_size;
	text_start = (char *)lo;
	text_pmds = (hi - lo) / pmd_size;
}

/*
 * What a copy does, on one letter each: r runs it all, c collapses it, d
 * gives its tables up, n does nothing. The answer is the sum, or the errno.
 */
static int serve(void)
{
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(0, &c, 1) == 1) {
		unsigned long answer = 0;

		if (c == 'r')
			answer = run_all();
		else if (c == 'c')
			answer = -collapse_settled(text_start, text_pmds * pmd_size);
		else if (c == 'd')
			answer = madvise(text_start, text_pmds * pmd_size, MADV_DONTNEED);
		if (write(1, &answer, sizeof(answer)) != sizeof(answer))
			break;
	}
	return 0;
}

struct copy {
	pid_t pid;
	int to, from;
};

static void copy_start(struct copy *c, const char *path)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		die("pipe: %s", strerror(errno));
	fflush(NULL);
	c->pid = fork();
	if (!c->pid) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		execl(path, "serve", NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	c->to = to[1];
	c->from = from[0];
}

static unsigned long copy_ask(struct copy *c, char what)
{
	unsigned long answer;

	if (write(c->to, &what, 1) != 1 ||
	    read(c->from, &answer, sizeof(answer)) != sizeof(answer))
		die("the copy that runs has died");
	return answer;
}

static void copy_end(struct copy *c)
{
	close(c->to);
	close(c->from);
	waitpid(c->pid, NULL, 0);
}

FIXTURE(text) {
	char dir[64], path[96];
	struct copy a, b;
	char *start;
	size_t nr;
	unsigned long sum;
};

FIXTURE_VARIANT(text) {
	enum file_kind kind;
	const char *dir;
};

FIXTURE_VARIANT_ADD(text, ext4) { .kind = EXT4_FILE, .dir = "/mnt/ext4" };
FIXTURE_VARIANT_ADD(text, xfs) { .kind = XFS_FILE, .dir = "/mnt/xfs" };
FIXTURE_VARIANT_ADD(text, tmpfs) { .kind = TMPFS_FILE, .dir = "/tmp" };

static void drop(const char *path)
{
	int fd = open(path, O_RDONLY);

	fsync(fd);
	close(fd);
	knob_set("/proc/sys/vm/drop_caches", "1");
}

/* Whole and page by page, against the file that this process runs from. */
static int same_as_self(const char *path)
{
	char mine[4096], other[4096];
	int a = open("/proc/self/exe", O_RDONLY), b = open(path, O_RDONLY), bad = 0;
	ssize_t n;

	while (!bad && (n = read(a, mine, sizeof(mine))) > 0)
		bad = read(b, other, sizeof(other)) != n || memcmp(mine, other, n);
	close(a);
	close(b);
	return bad;
}

FIXTURE_SETUP(text)
{
	const char *missing = file_kind_missing(variant->kind);
	int from, to;
	char buf[4096];
	ssize_t n;

	if (missing)
		SKIP(return, "%s", missing);
	knobs_baseline();
	text_find();
	self->start = text_start;
	self->nr = text_pmds;
	self->sum = run_all();
	ASSERT_LE(2, self->nr);
	snprintf(self->path, sizeof(self->path), "%s/text.%d", variant->dir, getpid());
	from = open("/proc/self/exe", O_RDONLY);
	to = open(self->path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	ASSERT_LE(0, from);
	ASSERT_LE(0, to);
	while ((n = read(from, buf, sizeof(buf))) > 0)
		ASSERT_EQ(n, write(to, buf, n));
	ASSERT_EQ(0, fsync(to));
	close(to);
	close(from);
	copy_start(&self->a, self->path);
	copy_start(&self->b, self->path);
	ASSERT_EQ(self->sum, copy_ask(&self->a, 'r'));
	ASSERT_EQ(self->sum, copy_ask(&self->b, 'r'));
	ASSERT_EQ(0, count_huge(self->a.pid, self->start, self->nr * pmd_size));
}

FIXTURE_TEARDOWN(text)
{
	copy_end(&self->a);
	copy_end(&self->b);
	unlink(self->path);
}

#define LEN (self->nr * pmd_size)
#define HUGE(c) count_huge((c).pid, self->start, LEN)

/* Both run it, both have one and the same memory, and it is what the disk has. */
#define EXPECT_TEXT() do {							\
	struct page_info pa_, pb_;						\
	EXPECT_EQ(self->sum, copy_ask(&self->a, 'r'));				\
	EXPECT_EQ(self->sum, copy_ask(&self->b, 'r'));				\
	EXPECT_EQ(self->nr, HUGE(self->a));					\
	EXPECT_EQ(self->nr, HUGE(self->b));					\
	EXPECT_EQ(LEN / 1024, file_huge_kb(self->a.pid, self->start, LEN));	\
	for (size_t i_ = 0; i_ < LEN; i_ += 31 * page_size) {			\
		page_info(self->a.pid, self->start + i_, &pa_);			\
		page_info(self->b.pid, self->start + i_, &pb_);			\
		ASSERT_NE(0, pa_.pfn);						\
		ASSERT_EQ(pa_.pfn, pb_.pfn);					\
	}									\
	EXPECT_EQ(0, same_as_self(self->path));					\
} while (0)

TEST_F(text, by_itself)
{
	long alloc = vmstat("thp_collapse_alloc");

	EXPECT_EQ(0, copy_ask(&self->a, 'c'));
	EXPECT_EQ(self->nr, HUGE(self->a));
	EXPECT_EQ(alloc + self->nr, vmstat("thp_collapse_alloc"));
	EXPECT_TEXT();
	copy_ask(&self->a, 'd');
	copy_ask(&self->b, 'd');
	EXPECT_TEXT();
}

TEST_F(text, by_another_process)
{
	int fd = pidfd_open_(self->b.pid);

	ASSERT_LE(0, fd);
	EXPECT_EQ(LEN, collapse_process(fd, self->start, LEN));
	EXPECT_EQ(self->nr, HUGE(self->b));
	EXPECT_EQ(0, HUGE(self->a));
	EXPECT_TEXT();
	close(fd);
}

/* Most of it was never read; the rest has no table yet. */
TEST_F(text, not_in_the_cache)
{
	int fd;

	copy_end(&self->a);
	copy_end(&self->b);
	if (file_on_disk(variant->kind))
		drop(self->path);
	copy_start(&self->a, self->path);
	copy_ask(&self->a, 'n');
	fd = pidfd_open_(self->a.pid);
	EXPECT_EQ(LEN, collapse_process(fd, self->start, LEN));
	EXPECT_EQ(self->nr, HUGE(self->a));
	copy_start(&self->b, self->path);
	EXPECT_TEXT();
	close(fd);
}

/* Gone from memory altogether: read back from the disk it is the same. */
TEST_F(text, read_again)
{
	EXPECT_EQ(0, copy_ask(&self->a, 'c'));
	EXPECT_TEXT();
	copy_end(&self->a);
	copy_end(&self->b);
	drop(self->path);
	EXPECT_EQ(0, same_as_self(self->path));
	copy_start(&self->a, self->path);
	copy_start(&self->b, self->path);
	EXPECT_EQ(self->sum, copy_ask(&self->a, 'r'));
}

/* Class 45: the file replaced and opened for writing while huge text is mapped. */
TEST_F(text, open_for_write)
{
	char buf[4096];
	int fd;

	EXPECT_EQ(0, copy_ask(&self->a, 'c'));
	EXPECT_TEXT();
	/* Nobody may write to what runs. */
	EXPECT_EQ(-1, open(self->path, O_RDWR));
	EXPECT_EQ(ETXTBSY, errno);
	copy_end(&self->a);
	copy_end(&self->b);
	fd = open(self->path, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(sizeof(buf), pread(fd, buf, sizeof(buf), pmd_size));
	ASSERT_EQ(sizeof(buf), pwrite(fd, buf, sizeof(buf), pmd_size));
	close(fd);
	drop(self->path);
	EXPECT_EQ(0, same_as_self(self->path));
	copy_start(&self->a, self->path);
	copy_start(&self->b, self->path);
	EXPECT_EQ(0, copy_ask(&self->a, 'c'));
	EXPECT_TEXT();
}

/* A probe puts a private page in: nobody takes that for the huge page's. */
TEST_F(text, uprobe)
{
	const char *events = "/sys/kernel/tracing/uprobe_events";
	unsigned long addr, off = 0, lo, hi, pgoff;
	char line[300], def[200];
	FILE *maps = fopen("/proc/self/maps", "r");
	size_t i;

	/* One in the first PMD. */
	for (i = 0; (unsigned long)functions[i] - (unsigned long)text_start >= pmd_size; i++)
		;
	addr = (unsigned long)functions[i];
	if (access(events, F_OK))
		SKIP(return, "no uprobes: build with UPROBE_EVENTS");
	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %*s %lx", &lo, &hi, &pgoff) == 3 && lo <= addr && addr < hi)
			off = addr - lo + pgoff;
	fclose(maps);
	ASSERT_NE(0, off);
	EXPECT_EQ(0, copy_ask(&self->a, 'c'));
	EXPECT_TEXT();
	snprintf(def, sizeof(def), "p:collapse/probe %s:0x%lx", self->path, off);
	ASSERT_EQ(0, knob_try(events, def));
	/*
	 * The copy goes with the probe, and the table with the copy, only if nobody has a reference to it just then. Taking
	 * the probe away gets one, and may have the copy made active, on a list that has one as well: but only once.
	 */
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, knob_try("/sys/kernel/tracing/events/collapse/probe/enable", "1"));
		EXPECT_EQ(self->sum, copy_ask(&self->a, 'r'));
		EXPECT_EQ(self->nr - 1, HUGE(self->a));
		EXPECT_EQ(EINVAL, copy_ask(&self->a, 'c'));
		EXPECT_EQ(self->sum, copy_ask(&self->a, 'r'));
		ASSERT_EQ(0, knob_try("/sys/kernel/tracing/events/collapse/probe/enable", "0"));
		EXPECT_EQ(self->sum, copy_ask(&self->a, 'r'));
		if (HUGE(self->a) == self->nr)
			break;
	}
	EXPECT_GT(10, i) TH_LOG("it is not huge again when the probe has gone");
	knob_try(events, "-:collapse/probe");
	copy_ask(&self->a, 'd');
	copy_ask(&self->b, 'd');
	EXPECT_TEXT();
}

int main(int argc, char **argv)
{
	if (!strcmp(argv[0], "serve")) {
		page_size = getpagesize();
		pmd_size = knob_num("hpage_pmd_size");
		text_find();
		return serve();
	}
	collapse_init();
	return test_harness_run(argc, argv);
}
