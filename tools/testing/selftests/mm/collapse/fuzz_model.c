// SPDX-License-Identifier: GPL-2.0
/*
 * What each page of the arena must hold, whatever the kernel does about it.
 *
 * A slot is a page of the arena, an object is a file or shared anonymous
 * memory. Objects are shared with children, slots are copied by fork(). Where
 * a call that failed may have done a part of its work, nothing is known of the
 * content any more (LOOSE), or not even of the mapping (WILD), until it is
 * written or mapped again.
 */
#include "fuzz.h"
#include "fuzz_slot.h"

struct slot slots[ARENA_PAGES];
struct object *objects;
unsigned int *nr_objects;

void model_init(void)
{
	size_t len = MAX_OBJECTS * sizeof(*objects) + PAGE;
	char *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		abort();
	nr_objects = (unsigned int *)mem;
	objects = (struct object *)(mem + PAGE);
}

void object_start(struct object *o, unsigned int pages)
{
	memset(o, 0, sizeof(*o));
	o->pages = pages;
}

void model_start(unsigned int pages)
{
	memset(slots, 0, sizeof(slots));
	object_start(&objects[0], pages);
	*nr_objects = 1;
}

bool model_may_map(int kind)
{
	return kind != ANON_SHARED || *nr_objects < MAX_OBJECTS;
}

bool has_object(const struct slot *s)
{
	return s->there && s->kind != ANON;
}

static bool cut_off(const struct slot *s)
{
	return s->off >= objects[s->obj].pages;
}

/* A private copy goes when the file is cut off in front of it. */
bool owns(const struct slot *s)
{
	return s->kind == ANON || (s->flags & OWN && s->gen == objects[s->obj].gen[s->off]);
}

bool follows(const struct slot *s)
{
	return has_object(s) && s->kind == FILE_PRIVATE && s->off < ARENA_PAGES && !owns(s);
}

void own(struct slot *s, uint32_t version)
{
	s->version = version;
	s->flags &= ~(MAYBE | LOOSE);
	if (s->kind == FILE_PRIVATE && s->off < ARENA_PAGES) {
		s->flags |= OWN;
		s->gen = objects[s->obj].gen[s->off];
	}
}

/* Some file or shared memory has changed, and there is no telling which. */
void objects_doubt(void)
{
	unsigned int i;

	for (i = 0; i < *nr_objects; i++)
		memset(objects[i].loose, 1, sizeof(objects[i].loose));
}

void holds(struct slot *s, uint32_t version)
{
	if (s->flags & WILD)
		objects_doubt();
	if (!s->there || s->flags & WILD)
		return;
	if (s->kind == ANON || s->kind == FILE_PRIVATE) {
		own(s, version);
	} else if (s->off < ARENA_PAGES) {
		objects[s->obj].version[s->off] = version;
		/* Behind the end of the file, in the rest of a huge page, it is kept as long as that is not split. */
		objects[s->obj].loose[s->off] = cut_off(s);
	}
}

void model_wrote(unsigned int page, uint32_t version)
{
	holds(&slots[page], version);
}

unsigned int model_ends(unsigned int page, bool write)
{
	const unsigned int ok = 1 << TOUCHED, segv = 1 << SEGFAULT, bus = 1 << BUS;
	const struct slot *s = &slots[page];
	bool watched;

	if (s->flags & (WILD | LOOSE))
		return ok | segv | bus;
	if (!s->there || !(s->prot & (write ? PROT_WRITE : PROT_READ)))
		return segv;
	if (s->flags & GUARD)
		return has_object(s) ? segv | bus : segv;
	if (has_object(s) && s->off >= ARENA_PAGES)
		return bus;
	/* A huge page of shared memory is mapped whole, wherever in it the file ends. */
	if (has_object(s) && !owns(s) && cut_off(s))
		return s->off < (objects[s->obj].pages + PMD_PAGES - 1) / PMD_PAGES * PMD_PAGES ? ok | bus : bus;
	/* Private copies are there, be it in swap, so only a hole can be missing. */
	watched = (s->flags & MISSING && (s->kind != ANON || !s->version || s->flags & MAYBE)) ||
		  (s->flags & MINOR && has_object(s)) || (write && s->flags & PROTECTED);
	return watched ? ok | bus : ok;
}

bool model_content(unsigned int page, uint32_t *version, bool *or_zero)
{
	const struct slot *s = &slots[page];

	*or_zero = s->flags & MAYBE;
	*version = s->version;
	if (!s->there || s->flags & (WILD | LOOSE))
		return false;
	if (has_object(s) && s->off >= ARENA_PAGES)
		return false;
	if (!has_object(s) || (s->kind == FILE_PRIVATE && owns(s)))
		return true;
	*or_zero = false;
	*version = objects[s->obj].version[s->off];
	return !objects[s->obj].loose[s->off];
}

bool model_freed(void)
{
	unsigned int i;

	for (i = 0; i < ARENA_PAGES; i++)
		if (slots[i].flags & MAYBE)
			return true;
	return false;
}

bool model_behind_extent(void)
{
	unsigned int i;

	for (i = 0; i < ARENA_PAGES; i++)
		if (has_object(&slots[i]) && slots[i].flags & (MISSING | WILD) &&
		    slots[i].off && slots[i].off % PMD_PAGES == 0)
			return true;
	return false;
}

