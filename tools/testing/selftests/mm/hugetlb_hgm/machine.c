// SPDX-License-Identifier: GPL-2.0
/* What kernel and machine this is, and how a test says that something is wrong. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hgm.h"

/* What the largest of these tests needs. */
#define POOL_PAGES	16

void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("# set-up failed: ");
	vprintf(fmt, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
	_exit(1);
}

void must(int err, const char *what)
{
	if (err < 0)
		die("%s: %s", what, strerror(-err));
}

int wrong(const char *fmt, ...)
{
	static int said;
	char line[512];
	va_list args;

	/* Where all is wrong, a few lines say as much as thousands. */
	if (__atomic_add_fetch(&said, 1, __ATOMIC_RELAXED) > 20)
		return -EIO;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	/* One call, so that threads do not mix their lines. */
	printf("# wrong: %s\n", line);
	fflush(stdout);
	return -EIO;
}

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

void sleep_ms(unsigned int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

static uint32_t seeds;
static __thread uint64_t state;

uint32_t dice(void)
{
	if (!state)
		state = 0x9e3779b97f4a7c15ULL * __atomic_add_fetch(&seeds, 1, __ATOMIC_RELAXED);
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return state >> 33;
}

long field_of(const char *path, const char *name)
{
	size_t n = strlen(name);
	char line[256];
	long value = -1;
	FILE *f = fopen(path, "r");

	if (!f)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, n) && line[n] == ':')
			value = atol(line + n + 1);
	fclose(f);
	return value;
}

static int number(const char *name, int otherwise)
{
	const char *text = getenv(name);

	return text && atoi(text) > 0 ? atoi(text) : otherwise;
}

unsigned int hgm_seconds(void)
{
	return number("HGM_SECONDS", 5);
}

uint64_t uffd_features(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return 0;
	if (ioctl(fd, UFFDIO_API, &api))
		api.features = 0;
	close(fd);
	return api.features;
}

const char *hugetlb_missing(void)
{
	int fd;

	if (sysconf(_SC_PAGESIZE) != (long)SMALL)
		return "pages are not 4 KiB";
	if (geteuid())
		return "only root can see page frames";
	if (!uffd_features())
		return "no userfaultfd";
	if (!(uffd_features() & UFFD_FEATURE_MINOR_HUGETLBFS))
		return "no minor faults of hugetlbfs";
	fd = memfd_create("hgm", MFD_HUGETLB | MFD_HUGE_2MB);
	if (fd < 0)
		return "no huge pages of 2 MiB";
	close(fd);
	if (field_of("/proc/meminfo", "HugePages_Free") < POOL_PAGES)
		return "fewer than 16 free huge pages: see /proc/sys/vm/nr_hugepages";
	return NULL;
}

const char *hgm_missing(void)
{
	uint64_t features = uffd_features();

	/* This reason before any other: it is what sets kernels apart. */
	if (features && !(features & UFFD_FEATURE_MINOR_HUGETLBFS_HGM))
		return "the kernel has no HGM: UFFDIO_API does not report bit 19";
	return hugetlb_missing();
}
