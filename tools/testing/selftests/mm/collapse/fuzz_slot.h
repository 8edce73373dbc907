/* SPDX-License-Identifier: GPL-2.0 */
/* What fuzz_model.c and fuzz_apply.c share: a slot is a page of the arena, an object what files are. */
#ifndef FUZZ_SLOT_H
#define FUZZ_SLOT_H

enum {
	OWN = 1,	/* private mapping of a file: has a copy of its own */
	MAYBE = 2,	/* MADV_FREE: may be empty instead */
	LOOSE = 4, WILD = 8, GUARD = 16, LOCKED = 32, MISSING = 64, PROTECTED = 128, MINOR = 256,
	WATCHED = MISSING | PROTECTED | MINOR
};

struct slot {
	uint8_t there, kind, prot, obj;
	uint16_t flags, off;
	uint16_t gen;		/* of the object's page, when OWN was set */
	uint32_t version;
};

#define MAX_OBJECTS	(MAX_OPS + 2)

/* Object 0 is the file; the others are made by f_map(ANON_SHARED). */
struct object {
	unsigned int pages;
	uint32_t version[ARENA_PAGES];
	uint8_t loose[ARENA_PAGES];
	uint16_t gen[ARENA_PAGES];	/* how often it was cut off */
};

extern struct slot slots[ARENA_PAGES];
extern struct object *objects;
extern unsigned int *nr_objects;

void object_start(struct object *o, unsigned int pages);
bool has_object(const struct slot *s);
/* Its content is its own, as opposed to the object's. */
bool owns(const struct slot *s);
/* A private mapping that shows the object until it is written. */
bool follows(const struct slot *s);
/* From now on it has a content of its own. */
void own(struct slot *s, uint32_t version);
/* Nothing is known any more of what files and shared memory hold. */
void objects_doubt(void);
/* It was written, be it to a copy of its own or to the object. */
void holds(struct slot *s, uint32_t version);

#endif /* FUZZ_SLOT_H */
