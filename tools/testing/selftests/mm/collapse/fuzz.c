// SPDX-License-Identifier: GPL-2.0
/*
 * Random sequences of calls on a few huge pages' worth of memory: a seed makes
 * a sequence, and a model says what each byte must be. A line for each says
 * what came of it, so that the kernels of two implementations, or two
 * versions, can be compared: what is hashed must be the same.
 *
 * Each sequence runs in a process of its own, alone with the daemon on one
 * processor; scripts/fuzz.py compares, and makes a sequence that fails shorter.
 */
#include <getopt.h>

#include "collapse.h"
#include "fuzz.h"
#include "fuzz_call.h"

#define PASS_MS		60000
#define LIMIT_SECONDS	60

static const char * const counters[] = {
	"khugepaged/pages_collapsed", "hugepages-2048kB/stats/collapse_alloc",
	"hugepages-2048kB/stats/collapse_alloc_failed",
	"hugepages-2048kB/stats/collapse_exceed_none_pte",
	"hugepages-2048kB/stats/collapse_exceed_swap_pte",
	"hugepages-2048kB/stats/collapse_exceed_shared_pte",
};
#define NR_COUNTERS (sizeof(counters) / sizeof(counters[0]))

static int counter_fds[NR_COUNTERS];
static bool verbose;
static const char *broken;	/* what --break breaks */
static struct outcome {
	uint64_t trace;		/* of calls, results and mappings */
	uint64_t counters;	/* 0: not to be compared */
	unsigned int retries, calls, huge;
	bool apart;		/* from here on implementations differ, and may */
} *outcome;

/* A part of a sequence, by bits; all of it without any. */
struct selection {
	uint64_t from, to, only;
};

static long perform(const struct op *op, unsigned int i)
{
	const unsigned int a = op->a, n = op->n, b = op->b;
	const int x = op->x;

	switch (op->kind) {
	case OP_MAP:
		return model_may_map(x >> 8) ? f_map(a, n, x & 255, x >> 8, b) : -EMFILE;
	case OP_UNMAP:
		return f_unmap(a, n);
	case OP_ADVISE:
		return f_advise(a, n, x);
	case OP_PROTECT:
		return f_protect(a, n, x);
	case OP_MOVE:
		return f_move(a, n, b, x);
	case OP_RESIZE:
		return f_resize(a, n, b);
	case OP_WRITE:
		return f_write(a, n, b, op_version(i));
	case OP_READ:
		return f_read(a, n, b);
	case OP_FORK:
		return f_fork(x, a, n, op_version(i));
	case OP_HOLD:
		return f_hold();
	case OP_REAP:
		return f_reap();
	case OP_DAEMON:
		return f_daemon();
	case OP_LIMITS:
		return f_limits(a, n, b);
	case OP_REGISTER:
		return f_register(a, n, x);
	case OP_UNREGISTER:
		return f_unregister(a, n);
	case OP_COPY:
		return f_copy(a, n, op_version(i));
	case OP_ZERO:
		return f_zero(a, n);
	case OP_CONTINUE:
		return f_continue(a, n);
	case OP_PROTECT_UFFD:
		return f_protect_uffd(a, n, x);
	case OP_MOVE_UFFD:
		return f_move_uffd(a, n, b);
	case OP_LOCK:
		return f_lock(a, n);
	case OP_UNLOCK:
		return f_unlock(a, n);
	case OP_TRUNCATE:
		return f_truncate(a);
	case OP_PUNCH:
		return f_punch(a, n);
	case OP_ALLOCATE:
		return f_allocate(a, n);
	case OP_PWRITE:
		return f_pwrite(a, op_version(i));
	case OP_CLEAR_REFS:
		return f_clear_refs(x);
	case OP_PIN:
		return f_pin_page(a);
	case OP_UNPIN:
		return f_unpin();
	case NR_OPS:
		break;
	}
	return 0;
}

/*
 * For the test of all this: after a collapse and a later write another result,
 * or a byte that nobody wrote.
 */
static long breakage(const struct op *op, long ret)
{
	static bool collapsed;

	if (op->kind == OP_ADVISE && op->x == 25 && !ret)
		collapsed = true;
	if (!broken || !collapsed || op->kind != OP_WRITE || ret)
		return ret;
	if (!strcmp(broken, "result"))
		return 1;
	AT(op->a)[100] = 1;
	return ret;
}

static void read_counters(long *values)
{
	char text[32];
	size_t i;

	for (i = 0; i < NR_COUNTERS; i++) {
		ssize_t n = pread(counter_fds[i], text, sizeof(text) - 1, 0);

		text[n > 0 ? n : 0] = 0;
		values[i] = atol(text);
	}
}

int check_page(unsigned int page, uint32_t version, bool or_zero, bool *right)
{
	return f_check(page, version, or_zero, right);
}

int scan_pages(struct page_region *regions, unsigned int max)
{
	return f_scan(regions, max);
}

static long child_looks(void)
{
	/* Of a child that is held, this is the first that is heard. */
	model_forked();
	return look_all();
}

/*
 * Implementations may judge by different parts of a table: C takes what is
 * shared, in swap, pinned, protected by a userfaultfd or given up anywhere in
 * it for a reason not to make folios of a lesser size in the rest.
 */
static bool may_differ(const struct op *op, unsigned int sizes)
{
	bool in_child = op->kind == OP_FORK && op->x == CHILD_DAEMON;

	if (model_behind_extent())
		return true;
	return sizes && (in_child || (op->kind == OP_DAEMON && (f_child || f_markers || f_pin[0] >= 0 ||
								 model_freed() || look_swapped())));
}

static void step(const struct op *op, unsigned int i, unsigned int sizes)
{
	char text[128], mapped[4096] = "";
	uint64_t trace;
	long ret;

	op_text(op, i, text, sizeof(text));
	if (verbose) {
		printf("#call %u %s;\n", i, text);
		fflush(stdout);
	}
	outcome->apart |= may_differ(op, sizes);
	ret = perform(op, i);
	if (op->kind == OP_WRITE || op->kind == OP_READ)
		look_accesses(op, i, ret);
	else
		model_apply(op, i, ret);
	outcome->calls++;
	outcome->huge += op->kind == OP_ADVISE && op->x == 25 && !ret;
	ret = breakage(op, ret);
	trace = hash_add(outcome->trace, &ret, sizeof(ret));
	if (!outcome->apart || verbose)
		trace = look_mapped(trace, verbose ? mapped : NULL, sizeof(mapped));
	if (!outcome->apart)
		outcome->trace = trace;
	if (verbose) {
		printf("#gave %u %ld%s\n", i, ret, mapped);
		fflush(stdout);
	}
}

/* In a process of its own. */
static void run(const struct sequence *s, uint64_t only)
{
	long before[NR_COUNTERS], after[NR_COUNTERS];
	unsigned int i;

	alarm(LIMIT_SECONDS);
	read_counters(before);
	model_start(2 * PMD_PAGES);
	f_start(s->file ? "/tmp" : NULL, 2 * PMD_PAGES);
	f_uffd_open(s->async);
	f_look = child_looks;
	f_acted = model_acted;
	for (i = 0; i < s->nr && !*fault; i++)
		if (only >> i & 1)
			step(&s->op[i], i, s->sizes);
	if (!outcome->apart)
		outcome->trace = look_smaps(outcome->trace, verbose);
	if (f_child)
		f_reap();
	look_all();
	read_counters(after);
	for (i = 0; i < NR_COUNTERS; i++) {
		after[i] -= before[i];
		if (verbose && after[i])
			printf("#    %s %+ld\n", counters[i], after[i]);
	}
	outcome->counters = hash_add(1, after, sizeof(after));
	outcome->retries = f_retries;
}

/* Knobs that are as they should be are not written. */
static void set(const char *knob, const char *value)
{
	static struct {
		char knob[64], value[16];
	} known[16];
	size_t i;

	for (i = 0; i < 15 && *known[i].knob && strcmp(known[i].knob, knob); i++)
		;
	if (!strcmp(known[i].value, value))
		return;
	snprintf(known[i].knob, sizeof(known[i].knob), "%s", knob);
	snprintf(known[i].value, sizeof(known[i].value), "%s", value);
	f_knob(knob, value);
}

static void prepare(const struct sequence *s)
{
	static bool limits_changed = true;
	unsigned int order, i;
	char knob[64];

	set("enabled", s->always ? "always" : "madvise");
	set("shmem_enabled", s->shmem ? "advise" : "never");
	for (order = 2; order < 9; order++) {
		snprintf(knob, sizeof(knob), "hugepages-%ukB/enabled", 4u << order);
		set(knob, s->sizes & 1u << order ? "inherit" : "never");
	}
	if (limits_changed)
		f_limits(511, 64, 256);
	limits_changed = false;
	for (i = 0; i < s->nr; i++)
		limits_changed |= s->op[i].kind == OP_LIMITS;
}

/* Whether it went as it must. */
static bool one(uint64_t seed, uint64_t only)
{
	struct sequence s;
	int status;
	pid_t pid;

	generate(&s, seed);
	prepare(&s);
	memset(outcome, 0, sizeof(*outcome));
	*fault = 0;
	if (verbose)
		printf("#seed %llu sizes %#x always %d shmem %d file %d async %d\n",
		       (unsigned long long)seed, s.sizes, s.always, s.shmem, s.file, s.async);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		run(&s, only);
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status) && !*fault)
		snprintf(fault, 100, "ended by signal %d", WTERMSIG(status));
	/* C counts each attempt at a lesser size, and retries differ from run to run. */
	if (s.sizes || outcome->retries || outcome->apart)
		outcome->counters = 0;
	printf("@%llu %016llx %08x", (unsigned long long)seed, (unsigned long long)outcome->trace,
	       (unsigned int)(outcome->counters ^ outcome->counters >> 32));
	printf(*fault ? " wrong: %s\n" : "%s\n", fault);
	return !*fault;
}

static void set_up(void)
{
	cpu_set_t cpu;
	size_t i;
	char path[128];

	collapse_init();
	if (page_size != PAGE || pmd_pages != PMD_PAGES) {
		printf("1..0 # SKIP made for pages of 4 KiB\n");
		exit(4);
	}
	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	prctl(PR_SET_TIMERSLACK, 1);
	knobs_baseline();
	must(swap_setup(64), "swap device");
	knob_set_num("khugepaged/alloc_sleep_millisecs", 1);
	knob_set_num("khugepaged/pages_to_scan", 1u << 20);
	knob_set("/proc/sys/vm/dirty_writeback_centisecs", "0");
	/* With this process in its list, the daemon sleeps until it is told. */
	khugepaged_register(PASS_MS);
	f_daemon_open();
	for (i = 0; i < NR_COUNTERS; i++) {
		snprintf(path, sizeof(path), "/sys/kernel/mm/transparent_hugepage/%s", counters[i]);
		counter_fds[i] = open(path, O_RDONLY);
	}
	model_init();
	look_init();
	outcome = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (outcome == MAP_FAILED)
		die("no memory");
}

/* SEED, FIRST-LAST, or SEED:CALL,CALL,... */
static void parse(const char *word, struct selection *s)
{
	char *end;

	s->from = s->to = strtoull(word, &end, 0);
	s->only = ~0ull;
	if (*end == '-')
		s->to = strtoull(end + 1, &end, 0);
	if (*end == ':') {
		s->only = 0;
		while (*end && end[1])
			s->only |= 1ull << strtoul(end + 1, &end, 0);
	}
	if (*end && *end != ':')
		die("%s: a seed, FIRST-LAST, or SEED:CALL,CALL...", word);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "break", required_argument, NULL, 'b' }, { "verbose", no_argument, NULL, 'v' }, { },
	};
	unsigned long sequences = 0, wrong = 0, calls = 0, huge = 0;
	uint64_t start, seed;
	struct selection s;
	int c;

	while ((c = getopt_long(argc, argv, "b:v", options, NULL)) != -1) {
		if (c == 'b') {
			broken = optarg;
		} else if (c == 'v') {
			verbose = true;
		} else {
			printf("usage: %s [-v] [--break result|byte] SEED | FIRST-LAST | SEED:CALL,... ...\n",
			       argv[0]);
			return 2;
		}
	}
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	set_up();
	start = now_ms();
	printf("=== BEGIN fuzz\n");
	for (; optind < argc; optind++) {
		parse(argv[optind], &s);
		for (seed = s.from; seed <= s.to; seed++) {
			wrong += !one(seed, s.only);
			sequences++;
			calls += outcome->calls;
			huge += outcome->huge;
		}
	}
	printf("=== END fuzz\n");
	printf("# %lu sequences, %lu calls, %lu of them a collapse that was done, in %lu ms\n", sequences,
	       calls, huge, (unsigned long)(now_ms() - start));
	printf("1..1\n%sok 1 what is read is what was written\n", wrong ? "not " : "");
	return wrong != 0;
}
