// SPDX-License-Identifier: GPL-2.0
/* From a seed to a sequence of calls, and from a call to a line of C. */
#include "fuzz.h"

static uint64_t state;

static uint64_t next(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static unsigned int below(unsigned int n)
{
	return next() % n;
}

static bool percent(unsigned int p)
{
	return below(100) < p;
}

/* How often each call is made; advice has its own weights. */
static const unsigned char weight[NR_OPS] = {
	[OP_MAP] = 5, [OP_UNMAP] = 3, [OP_ADVISE] = 46, [OP_PROTECT] = 6, [OP_MOVE] = 4,
	[OP_RESIZE] = 2, [OP_WRITE] = 22, [OP_READ] = 7, [OP_FORK] = 5, [OP_HOLD] = 3,
	[OP_REAP] = 2, [OP_DAEMON] = 8, [OP_LIMITS] = 3, [OP_REGISTER] = 4, [OP_UNREGISTER] = 1,
	[OP_COPY] = 3, [OP_ZERO] = 1, [OP_CONTINUE] = 1, [OP_PROTECT_UFFD] = 4, [OP_MOVE_UFFD] = 1,
	[OP_LOCK] = 1, [OP_UNLOCK] = 1, [OP_TRUNCATE] = 3, [OP_PUNCH] = 3, [OP_ALLOCATE] = 1,
	[OP_PWRITE] = 3, [OP_CLEAR_REFS] = 1, [OP_PIN] = 1, [OP_UNPIN] = 1,
};

static const struct advice {
	int advice;
	unsigned char weight;
	const char *name;
} advices[] = {
	{ 25, 18, "25 /* MADV_COLLAPSE */" }, { MADV_HUGEPAGE, 9, "MADV_HUGEPAGE" },
	{ MADV_NOHUGEPAGE, 2, "MADV_NOHUGEPAGE" }, { MADV_DONTNEED, 6, "MADV_DONTNEED" },
	{ MADV_FREE, 3, "MADV_FREE" }, { MADV_COLD, 2, "MADV_COLD" },
	{ MADV_PAGEOUT, 6, "MADV_PAGEOUT" }, { 22, 1, "22 /* MADV_POPULATE_READ */" },
	{ 23, 2, "23 /* MADV_POPULATE_WRITE */" }, { 102, 2, "102 /* MADV_GUARD_INSTALL */" },
	{ 103, 2, "103 /* MADV_GUARD_REMOVE */" }, { MADV_REMOVE, 2, "MADV_REMOVE" },
	{ MADV_WILLNEED, 1, "MADV_WILLNEED" },
};
#define NR_ADVICES (sizeof(advices) / sizeof(advices[0]))

/* Huge pages, parts of them, what lies across their borders, single pages. */
static void range(struct op *op, unsigned int huge)
{
	unsigned int pmd = below(ARENA_PMDS);

	if (percent(huge)) {
		op->a = pmd * PMD_PAGES;
		op->n = (1 + below(ARENA_PMDS - pmd)) * PMD_PAGES;
	} else if (percent(40)) {
		op->a = pmd * PMD_PAGES + (percent(30) ? 0 : below(PMD_PAGES));
		op->n = 1 + below(8);
	} else if (percent(50)) {
		op->a = pmd * PMD_PAGES + below(32) * 16;
		op->n = 16 << below(5);
	} else {
		op->a = pmd * PMD_PAGES + PMD_PAGES - 1 - below(8);
		op->n = 2 + below(14);
	}
	if (op->n > ARENA_PAGES - op->a)
		op->n = ARENA_PAGES - op->a;
}

static void few(struct op *op, unsigned int most)
{
	op->a = below(ARENA_PAGES - most);
	if (percent(40))
		op->a = op->a / PMD_PAGES * PMD_PAGES + below(4);
	op->n = 1 + below(most);
}

/* Up to 16 pages, in a row or far from each other. */
static void accesses(struct op *op)
{
	unsigned int pmd = below(ARENA_PMDS);

	op->n = 1 + below(percent(30) ? 16 : 4);
	op->b = percent(50) ? 1 : 1 << below(6);
	op->a = pmd * PMD_PAGES + (percent(40) ? below(4) : below(PMD_PAGES - 16));
	while (op->a + (op->n - 1) * op->b >= ARENA_PAGES)
		op->b /= 2;
}

static void advice(struct op *op)
{
	unsigned int sum = 0, i, at;

	for (i = 0; i < NR_ADVICES; i++)
		sum += advices[i].weight;
	at = below(sum);
	for (i = 0; at >= advices[i].weight; i++)
		at -= advices[i].weight;
	op->x = advices[i].advice;
	range(op, op->x == 25 || op->x == MADV_HUGEPAGE ? 85 : 25);
	/* A page fault is some 3000 instructions. */
	if ((op->x == 22 || op->x == 23) && op->n > 64 && percent(90))
		op->n = 64;
}

static int protection(void)
{
	return percent(20) ? PROT_NONE : percent(40) ? PROT_READ : PROT_READ | PROT_WRITE;
}

/* Calls that need more than a range; the rest take pages and a number of them. */
static void arguments(struct op *op)
{
	switch (op->kind) {
	case OP_MAP:
		range(op, 70);
		op->x = below(4) << 8 | (percent(90) ? PROT_READ | PROT_WRITE : PROT_READ);
		/* Mostly so that huge pages fit. */
		op->b = percent(90) ? op->a % PMD_PAGES + (percent(30) ? PMD_PAGES : 0) : below(64);
		break;
	case OP_ADVISE:
		advice(op);
		break;
	case OP_PROTECT:
		range(op, 30);
		op->x = protection();
		break;
	case OP_MOVE:
		range(op, 60);
		op->b = percent(70) ? below(ARENA_PMDS) * PMD_PAGES + op->a % PMD_PAGES : below(ARENA_PAGES);
		if (op->n > ARENA_PAGES - op->b)
			op->n = ARENA_PAGES - op->b;
		op->x = percent(25);
		break;
	case OP_RESIZE:
		range(op, 60);
		op->b = 1 + below(ARENA_PAGES - op->a);
		break;
	case OP_WRITE:
	case OP_READ:
		accesses(op);
		break;
	case OP_FORK:
		range(op, 50);
		op->x = below(CHILD_ACTS);
		break;
	case OP_LIMITS:
		/* Of none, swap, shared: a few, some, all. */
		op->a = (unsigned int []){ 0, 500, 510, 511, 511 }[below(5)];
		op->n = (unsigned int []){ 0, 2, 64, 511 }[below(4)];
		op->b = (unsigned int []){ 0, 2, 256, 511 }[below(4)];
		break;
	case OP_REGISTER:
		range(op, 60);
		op->x = (int []){ 1, 2, 2, 3, 4, 6 }[below(6)];
		break;
	case OP_COPY:
	case OP_ZERO:
	case OP_CONTINUE:
	case OP_MOVE_UFFD:
		few(op, 4);
		op->b = below(ARENA_PAGES - 4);
		break;
	case OP_PROTECT_UFFD:
		range(op, 30);
		op->x = percent(70);
		break;
	case OP_TRUNCATE:
		op->a = percent(50) ? below(4) * PMD_PAGES : below(ARENA_PAGES);
		break;
	case OP_LOCK:
		range(op, 10);
		if (op->n > 64)
			op->n = 64;
		break;
	case OP_CLEAR_REFS:
		op->x = percent(50) ? 1 : 4;
		break;
	case OP_PUNCH:
	case OP_ALLOCATE:
		range(op, 30);
		if (op->kind == OP_ALLOCATE && op->n > 64)
			op->n = 64;
		break;
	default:
		range(op, 40);
	}
}

static void add(struct sequence *s, enum op_kind kind)
{
	struct op *op = &s->op[s->nr++];

	*op = (struct op){ .kind = kind };
	arguments(op);
}

static void add_any(struct sequence *s)
{
	unsigned int sum = 0, at, kind;

	for (kind = 0; kind < NR_OPS; kind++)
		sum += weight[kind];
	at = below(sum);
	for (kind = 0; at >= weight[kind]; kind++)
		at -= weight[kind];
	add(s, kind);
	/* Else the daemon would seldom find anything to do. */
	if (kind == OP_ADVISE && s->op[s->nr - 1].x == MADV_HUGEPAGE && percent(60)) {
		s->op[s->nr++] = (struct op){ .kind = OP_DAEMON };
		if (percent(20))
			s->op[s->nr++] = (struct op){ .kind = OP_DAEMON };
	}
}

void generate(struct sequence *s, uint64_t seed)
{
	unsigned int kind, pmds, n;

	memset(s, 0, sizeof(*s));
	s->seed = state = seed;
	next();
	if (percent(15))
		s->sizes = percent(50) ? 1 << 4 : (1 << (2 + below(7)) | 1 << (2 + below(7)));
	s->always = percent(20);
	s->shmem = percent(40);
	s->file = percent(20);
	s->async = percent(50);
	/* What is there to begin with: all of one kind, or a part of each of two. */
	kind = below(4);
	pmds = percent(60) ? ARENA_PMDS : 1 + below(ARENA_PMDS - 1);
	s->op[s->nr++] = (struct op){ .kind = OP_MAP, .n = pmds * PMD_PAGES,
				      .x = kind << 8 | PROT_READ | PROT_WRITE };
	if (pmds < ARENA_PMDS)
		s->op[s->nr++] = (struct op){ .kind = OP_MAP, .a = pmds * PMD_PAGES,
					      .n = (ARENA_PMDS - pmds) * PMD_PAGES,
					      .x = below(4) << 8 | PROT_READ | PROT_WRITE };
	for (n = 1 + below(3); n; n--)
		add(s, OP_WRITE);
	n = s->nr + 2 + below(22);
	while (s->nr < n && s->nr < MAX_OPS - 3)
		add_any(s);
}

uint32_t op_version(unsigned int i)
{
	return (i + 1) << 8;
}

static const char *advice_name(int advice)
{
	unsigned int i;

	for (i = 0; i < NR_ADVICES; i++)
		if (advices[i].advice == advice)
			return advices[i].name;
	return "?";
}

static const char *protection_name(int prot)
{
	return !prot ? "PROT_NONE" : prot == PROT_READ ? "PROT_READ" : "PROT_READ | PROT_WRITE";
}

/*
 * The function, and a letter for each of what it takes: the numbers a, n, b and
 * x, a version, and what is in x: a protection, kind, advice or act of a child.
 */
static const struct {
	const char *name, *takes;
} calls[NR_OPS] = {
	[OP_MAP] = { "f_map", "anpkb" }, [OP_UNMAP] = { "f_unmap", "an" },
	[OP_ADVISE] = { "f_advise", "and" }, [OP_PROTECT] = { "f_protect", "anp" },
	[OP_MOVE] = { "f_move", "anbx" }, [OP_RESIZE] = { "f_resize", "anb" },
	[OP_WRITE] = { "f_write", "anbv" }, [OP_READ] = { "f_read", "anb" },
	[OP_FORK] = { "f_fork", "canv" }, [OP_HOLD] = { "f_hold", "" }, [OP_REAP] = { "f_reap", "" },
	[OP_DAEMON] = { "f_daemon", "" }, [OP_LIMITS] = { "f_limits", "anb" },
	[OP_REGISTER] = { "f_register", "anx" }, [OP_UNREGISTER] = { "f_unregister", "an" },
	[OP_COPY] = { "f_copy", "anv" }, [OP_ZERO] = { "f_zero", "an" },
	[OP_CONTINUE] = { "f_continue", "an" }, [OP_PROTECT_UFFD] = { "f_protect_uffd", "anx" },
	[OP_MOVE_UFFD] = { "f_move_uffd", "anb" }, [OP_LOCK] = { "f_lock", "an" },
	[OP_UNLOCK] = { "f_unlock", "an" }, [OP_TRUNCATE] = { "f_truncate", "a" },
	[OP_PUNCH] = { "f_punch", "an" }, [OP_ALLOCATE] = { "f_allocate", "an" },
	[OP_PWRITE] = { "f_pwrite", "av" }, [OP_CLEAR_REFS] = { "f_clear_refs", "x" },
	[OP_PIN] = { "f_pin_page", "a" }, [OP_UNPIN] = { "f_unpin", "" },
};

void op_text(const struct op *op, unsigned int i, char *text, size_t len)
{
	static const char * const kinds[] = { "ANON", "FILE_SHARED", "FILE_PRIVATE", "ANON_SHARED" };
	static const char * const acts[] = { "CHILD_LOOK", "CHILD_WRITE", "CHILD_COLLAPSE",
					     "CHILD_DONTNEED", "CHILD_UNMAP", "CHILD_DAEMON" };
	const char *p, *word;
	char number[16];
	size_t at;

	at = snprintf(text, len, "%s(", calls[op->kind].name);
	for (p = calls[op->kind].takes; *p; p++) {
		unsigned int value = *p == 'a' ? op->a : *p == 'n' ? op->n : *p == 'b' ? op->b :
				     *p == 'v' ? op_version(i) : op->x;

		snprintf(number, sizeof(number), "%u", value);
		word = *p == 'p' ? protection_name(op->x & 255) : *p == 'k' ? kinds[op->x >> 8] :
		       *p == 'd' ? advice_name(op->x) : *p == 'c' ? acts[op->x] : number;
		at += snprintf(text + at, len - at, "%s%s", word, p[1] ? ", " : "");
	}
	snprintf(text + at, len - at, ")");
}
