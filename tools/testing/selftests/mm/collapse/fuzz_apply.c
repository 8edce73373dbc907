// SPDX-License-Identifier: GPL-2.0
/* What each call does to the model of fuzz_model.c, given what it returned. */
#include "fuzz.h"
#include "fuzz_slot.h"

static void map(const struct op *op)
{
	int kind = op->x >> 8;
	unsigned int i, obj = 0;

	if (kind == ANON_SHARED) {
		obj = (*nr_objects)++;
		object_start(&objects[obj], op->n);
	}
	for (i = 0; i < op->n; i++)
		slots[op->a + i] = (struct slot){
			.there = 1, .kind = kind, .prot = op->x & 255, .obj = obj,
			.off = kind == ANON ? 0 : kind == ANON_SHARED ? i : op->b + i,
		};
}

static void unmap(unsigned int page, unsigned int n)
{
	memset(&slots[page], 0, n * sizeof(slots[0]));
}

/* The kernel's work is undone or not, who knows. */
static void doubt(struct slot *s)
{
	if (s->there && s->kind != FILE_SHARED && s->kind != ANON_SHARED)
		s->flags |= LOOSE;
}

static void zap(struct slot *s)
{
	if (s->kind == FILE_PRIVATE)
		s->flags &= ~(OWN | LOOSE);
	if (s->kind == ANON) {
		s->version = 0;
		s->flags &= ~(MAYBE | LOOSE);
	}
}

static void advise(const struct op *op, long ret)
{
	/* With holes in the range it does the rest and says so. */
	bool done = ret == 0 || ret == -ENOMEM;
	unsigned int i;

	for (i = op->a; i < op->a + op->n; i++) {
		struct slot *s = &slots[i];

		/* It cuts a hole into the file that is mapped here, whatever that is. */
		if (op->x == MADV_REMOVE && s->flags & WILD)
			objects_doubt();
		if (!s->there || s->flags & WILD)
			continue;
		switch (op->x) {
		case MADV_DONTNEED:
			if (done)
				zap(s);
			else
				doubt(s);
			break;
		case MADV_FREE:
			if (s->kind == ANON)
				s->flags |= MAYBE;
			break;
		case 23:	/* MADV_POPULATE_WRITE */
			/* A copy that may be there stays as it is, so a doubt about it does, too. */
			if (follows(s) && (ret || s->flags & LOOSE || objects[s->obj].loose[s->off]))
				doubt(s);
			else if (follows(s))
				own(s, objects[s->obj].version[s->off]);
			break;
		case 102:	/* MADV_GUARD_INSTALL */
			/* f_advise() did not call; and it ends in front of what is locked. */
			if (ret == -EBUSY || (ret == -EINVAL && s->flags & LOCKED))
				return;
			if (done) {
				zap(s);
				s->flags |= GUARD;
			} else {
				s->flags |= WILD;
			}
			break;
		case 103:	/* MADV_GUARD_REMOVE */
			if (done)
				s->flags &= ~GUARD;
			break;
		case MADV_REMOVE:
			if ((s->kind == FILE_SHARED || s->kind == ANON_SHARED) && s->off < ARENA_PAGES) {
				if (done)
					objects[s->obj].version[s->off] = 0;
				objects[s->obj].loose[s->off] = !done;
			}
			break;
		}
	}
}

/* These stop at the first hole; where nothing is known of the mapping, there may be one. */
static void protect(const struct op *op, long ret)
{
	bool lost = ret && ret != -ENOMEM;
	unsigned int i;

	for (i = op->a; i < op->a + op->n; i++) {
		struct slot *s = &slots[i];

		lost |= ret && s->flags & WILD;
		if (lost)
			s->flags |= WILD;
		if (s->flags & WILD)
			continue;
		if (!s->there)
			break;
		if (op->kind == OP_PROTECT)
			s->prot = op->x;
		if (op->kind == OP_LOCK)
			s->flags |= LOCKED;
		/* What is locked and may be written is copied at once. */
		if (s->flags & LOCKED && follows(s))
			doubt(s);
		if (op->kind == OP_UNLOCK)
			s->flags &= ~LOCKED;
	}
}

static void move(const struct op *op, long ret)
{
	struct slot from[ARENA_PAGES];
	unsigned int i;

	/* Nothing at the start, or the two overlap: seen before anything is done. */
	if (ret == -EFAULT && !slots[op->a].there && !(slots[op->a].flags & WILD))
		return;
	if (ret == -EINVAL && op->a < op->b + op->n && op->b < op->a + op->n)
		return;
	memcpy(from, &slots[op->a], op->n * sizeof(from[0]));
	for (i = 0; i < op->n; i++) {
		struct slot *s = &slots[op->a + i], *t = &slots[op->b + i];

		if (ret || !from[i].there || from[i].flags & WILD) {
			s->flags |= WILD;
			t->flags |= WILD;
			continue;
		}
		*t = from[i];
		t->flags &= ~WATCHED;
		if (!op->x) {
			memset(s, 0, sizeof(*s));
			continue;
		}
		/* The mapping stays, and is empty. */
		s->flags &= ~(LOCKED | GUARD | LOOSE);
		zap(s);
	}
}

static void resize(const struct op *op, long ret)
{
	struct slot *last = &slots[op->a + op->n - 1];
	unsigned int i;

	if (ret) {
		/* To cut off the end may fail half-way. */
		for (i = op->a + op->b; ret != -EFAULT && i < op->a + op->n; i++)
			slots[i].flags |= WILD;
		return;
	}
	if (op->b < op->n)
		unmap(op->a + op->b, op->n - op->b);
	for (i = op->n; i < op->b; i++) {
		struct slot *s = &slots[op->a + i];

		*s = *last;
		s->flags &= WILD | LOCKED | WATCHED;
		s->off += i - op->n + 1;
		if (s->kind == ANON)
			s->off = s->version = 0;
		if (s->flags & LOCKED)
			doubt(s);
	}
}

static void truncate_file(unsigned int pages)
{
	struct object *o = &objects[0];
	unsigned int i;

	for (i = pages; pages < o->pages && i < ARENA_PAGES; i++) {
		o->version[i] = o->loose[i] = 0;
		o->gen[i]++;
	}
	o->pages = pages;
}

static void watch(const struct op *op)
{
	unsigned int i, flags = 0;

	if (op->kind == OP_REGISTER)
		flags = (op->x & 1 ? MISSING : 0) | (op->x & 2 ? PROTECTED : 0) | (op->x & 4 ? MINOR : 0);
	for (i = op->a; i < op->a + op->n; i++) {
		/* To ask for less than there is changes nothing. */
		if (!flags || (slots[i].flags & flags) != flags)
			slots[i].flags = (slots[i].flags & ~WATCHED) | flags;
	}
}

static void move_uffd(const struct op *op, unsigned int done)
{
	unsigned int i;

	for (i = 0; i < done; i++) {
		struct slot *s = &slots[op->a + i], *t = &slots[op->b + i];

		if (s->flags & (LOOSE | WILD)) {
			t->flags |= LOOSE;
		} else {
			own(t, s->version);
			t->flags |= s->flags & MAYBE;
		}
		own(s, 0);
	}
}

void model_apply(const struct op *op, unsigned int i, long ret)
{
	struct object *file = &objects[0];
	unsigned int n;

	switch (op->kind) {
	case OP_MAP:
		if (!ret)
			map(op);
		break;
	case OP_UNMAP:
		if (!ret)
			unmap(op->a, op->n);
		break;
	case OP_ADVISE:
		advise(op, ret);
		break;
	case OP_PROTECT:
	case OP_LOCK:
	case OP_UNLOCK:
		protect(op, ret);
		break;
	case OP_MOVE:
		move(op, ret);
		break;
	case OP_RESIZE:
		resize(op, ret);
		break;
	case OP_REGISTER:
	case OP_UNREGISTER:
		if (!ret)
			watch(op);
		break;
	case OP_COPY:
	case OP_ZERO:
		for (n = 0; ret > 0 && n < ret; n++)
			holds(&slots[op->a + n], op->kind == OP_COPY ? op_version(i) + n : 0);
		break;
	case OP_MOVE_UFFD:
		if (ret > 0)
			move_uffd(op, ret);
		break;
	case OP_TRUNCATE:
		if (!ret)
			truncate_file(op->a);
		break;
	case OP_PUNCH:
		for (n = op->a; !ret && n < op->a + op->n; n++)
			file->version[n] = file->loose[n] = 0;
		break;
	case OP_ALLOCATE:
		if (!ret && file->pages < op->a + op->n)
			file->pages = op->a + op->n;
		break;
	case OP_PWRITE:
		if (ret == (long)PAGE) {
			file->version[op->a] = op_version(i);
			file->loose[op->a] = 0;
			if (file->pages <= op->a)
				file->pages = op->a + 1;
		}
		break;
	default:
		break;
	}
}

void model_acted(int act, unsigned int page, unsigned int n, uint32_t version, long ret)
{
	struct op op = { .a = page, .n = n, .kind = OP_ADVISE, .x = MADV_DONTNEED };
	unsigned int i;

	model_forked();
	if (act == CHILD_DONTNEED)
		advise(&op, ret);
	if (act == CHILD_UNMAP && !ret)
		unmap(page, n);
	for (i = 0; act == CHILD_WRITE && i < n && i < 4; i++)
		if ((ret >> 2 * i & 3) == TOUCHED)
			model_wrote(page + i, version + i);
}

void model_forked(void)
{
	unsigned int i;

	for (i = 0; i < ARENA_PAGES; i++)
		slots[i].flags &= ~(LOCKED | WATCHED);
}
