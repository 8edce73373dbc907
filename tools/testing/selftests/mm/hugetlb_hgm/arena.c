// SPDX-License-Identifier: GPL-2.0
/* A file of huge pages with two mappings, and the pattern in it. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "hgm.h"

char *arena_map(const struct arena *a, int prot, int flags)
{
	char *mem = mmap(NULL, a->len, prot, flags, a->fd, 0);

	if (mem == MAP_FAILED)
		die("no mapping of %zu huge pages: %s", a->nr, strerror(errno));
	return mem;
}

void arena_open(struct arena *a, size_t nr)
{
	memset(a, 0, sizeof(*a));
	pool_read(&a->before);
	a->nr = nr;
	a->len = nr * HUGE;
	a->uffd = -1;
	a->fd = memfd_create("hgm", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	if (a->fd < 0 || ftruncate(a->fd, a->len))
		die("no file of %zu huge pages: %s", nr, strerror(errno));
	a->source = arena_map(a, PROT_READ | PROT_WRITE, MAP_SHARED);
	a->guest = arena_map(a, PROT_READ | PROT_WRITE, MAP_SHARED);
}

int arena_hgm(struct arena *a, uint64_t features, uint64_t modes)
{
	int err;

	a->uffd = uffd_open(HGM_FEATURES | features);
	if (a->uffd < 0) {
		err = a->uffd;
		a->uffd = -1;
		return err;
	}
	return uffd_register(a->uffd, a->guest, a->len, UFFDIO_REGISTER_MODE_MINOR | modes);
}

void arena_close(struct arena *a)
{
	if (a->uffd >= 0)
		close(a->uffd);
	if (a->guest)
		munmap(a->guest, a->len);
	if (a->source)
		munmap(a->source, a->len);
	if (a->fd >= 0)
		close(a->fd);
	a->uffd = a->fd = -1;
	a->guest = a->source = NULL;
}

int arena_check(const struct arena *a)
{
	int err = pool_check(&a->before);
	long kb = hugetlb_kb();

	/* By leaves: a count by huge pages would be off, or negative. */
	if (kb)
		err = wrong("counters: HugetlbPages is %ld kB with nothing mapped", kb);
	return err;
}

static uint64_t word(size_t off, uint32_t version)
{
	if (!version)
		return 0;
	return ((uint64_t)off << 24 ^ version) * 0x9e3779b97f4a7c15ULL | 1;
}

void fill(char *mem, size_t off, size_t len, uint32_t version)
{
	volatile uint64_t *p = (volatile uint64_t *)mem;
	size_t i;

	for (i = 0; i < len / 8; i++)
		p[i] = word(off + i * 8, version);
}

int verify(const char *mem, size_t off, size_t len, uint32_t version)
{
	const volatile uint64_t *p = (const volatile uint64_t *)mem;
	uint64_t is;
	size_t i;

	for (i = 0; i < len / 8; i++) {
		is = p[i];
		if (is != word(off + i * 8, version))
			return wrong("small page %zu of the file, byte %zu: %#llx instead of %#llx (version %u)",
				     (off + i * 8) / SMALL, (off + i * 8) % SMALL, (unsigned long long)is,
				     (unsigned long long)word(off + i * 8, version), version);
	}
	return 0;
}

bool is_version(const char *mem, size_t off, uint32_t version)
{
	const volatile uint64_t *p = (const volatile uint64_t *)mem;
	size_t i;

	for (i = 0; i < SMALL / 8; i++)
		if (p[i] != word(off + i * 8, version))
			return false;
	return true;
}
