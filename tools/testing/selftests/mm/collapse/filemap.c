// SPDX-License-Identifier: GPL-2.0
/* Shared memory and files: make, fill, map, verify, read again from the disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collapse.h"

#ifndef MFD_ALLOW_SEALING
#define MFD_ALLOW_SEALING	0x2
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS		1033
#define F_SEAL_SHRINK		0x2
#define F_SEAL_WRITE		0x8
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE	0x10
#endif

/* Address of byte 0 of every file, as far as the pattern is concerned. */
#define HOME		((const char *)(1ul << 40))

const char *file_tmpfs_options = "huge=advise";

bool file_on_disk(enum file_kind kind)
{
	return kind == EXT4_FILE || kind == XFS_FILE;
}

bool file_may_write(enum file_kind kind)
{
	return kind != MEMFD_SEALED;
}

static const char *disk_dir(enum file_kind kind)
{
	return kind == EXT4_FILE ? "/mnt/ext4" : "/mnt/xfs";
}

const char *file_kind_missing(enum file_kind kind)
{
	char text[256], where[64], type[32];
	bool found = !file_on_disk(kind);
	FILE *f;

	if (kind == PRIVATE_ANON)
		return NULL;
	/* Memory of shmem under other names, which a slow kernel may be spared. */
	if (getenv("FEW_KINDS") && (kind == MEMFD_SEALED || kind == MEMFD_FUTURE_SEALED ||
				    kind == SHARED_ANON || kind == SYSV_SHM))
		return "left out: FEW_KINDS is set";
	/* Two levels of an XArray's nodes: 512 MiB, at pages of 64 KiB, is more. */
	if (pmd_pages > 1 << 11)
		return "the page cache has no folio of the size of a PMD";
	f = fopen("/proc/mounts", "r");
	while (f && fgets(text, sizeof(text), f))
		if (sscanf(text, "%*s %63s %31s", where, type) == 2 &&
		    !found && !strcmp(where, disk_dir(kind)))
			found = !strcmp(type, kind == EXT4_FILE ? "ext4" : "xfs");
	if (f)
		fclose(f);
	if (found)
		return NULL;
	return kind == EXT4_FILE ? "no ext4 is mounted at /mnt/ext4" :
				   "no xfs is mounted at /mnt/xfs";
}

/* ---- making one ---- */

/*
 * A tmpfs of its own, which goes when the file is closed. The file keeps its
 * name: without one its mappings would follow the rules of anonymous memory.
 */
static int tmpfs_file(void)
{
	char dir[] = "/tmp/collapse.XXXXXX", path[40];
	int fd;

	if (!mkdtemp(dir) || mount("tmpfs", dir, "tmpfs", 0, file_tmpfs_options))
		die("cannot mount a tmpfs with \"%s\": %s", file_tmpfs_options, strerror(errno));
	snprintf(path, sizeof(path), "%s/collapse.file", dir);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return fd;
}

static int disk_file(enum file_kind kind)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/collapse.XXXXXX", disk_dir(kind));
	fd = mkstemp(path);
	unlink(path);
	return fd;
}

static int open_kind(enum file_kind kind)
{
	switch (kind) {
	case MEMFD ... MEMFD_FUTURE_SEALED:
		return syscall(__NR_memfd_create, "collapse", MFD_ALLOW_SEALING);
	case TMPFS_FILE:
		return tmpfs_file();
	default:
		return disk_file(kind);
	}
}

static char *map_over(const struct filemap *f, char *at, int prot, int flags)
{
	void *mem;

	if (f->kind == SYSV_SHM)
		mem = shmat(f->shmid, at, SHM_REMAP | (prot & PROT_WRITE ? 0 : SHM_RDONLY));
	else if (f->fd >= 0)
		mem = mmap(at, f->len, prot, flags | MAP_FIXED, f->fd, 0);
	else if (!f->mem)
		mem = mmap(at, f->len, prot, flags | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
	else	/* an old size of zero copies a shared mapping */
		mem = mremap(f->mem, 0, f->len, MREMAP_MAYMOVE | MREMAP_FIXED, at);
	if (mem != at)
		die("cannot map %zu bytes: %s", f->len, strerror(errno));
	return mem;
}

char *file_map(const struct filemap *f, int prot, int flags)
{
	return map_over(f, region_map(f->nr_pmds), prot, flags);
}

void file_create(struct filemap *f, enum file_kind kind, size_t nr_pmds)
{
	memset(f, 0, sizeof(*f));
	f->kind = kind;
	f->nr_pmds = nr_pmds;
	f->len = nr_pmds * pmd_size;
	f->fd = -1;
	if (kind == PRIVATE_ANON) {
		f->mem = region_map(nr_pmds);
		return;
	}
	if (kind == SYSV_SHM) {
		f->shmid = shmget(IPC_PRIVATE, f->len, IPC_CREAT | 0600);
		if (f->shmid < 0)
			die("shmget: %s", strerror(errno));
	} else if (kind != SHARED_ANON) {
		f->fd = open_kind(kind);
		if (f->fd < 0 || ftruncate(f->fd, f->len))
			die("cannot make a file: %s", strerror(errno));
		return;
	}
	f->mem = file_map(f, PROT_READ | PROT_WRITE, MAP_SHARED);
	if (kind == SYSV_SHM)
		shmctl(f->shmid, IPC_RMID, NULL);
}

/* ---- content ---- */

void file_store(char *mem, size_t off, size_t len, uint32_t version)
{
	size_t i;

	for (i = 0; i < len; i += sizeof(uint64_t))
		*(volatile uint64_t *)(mem + i) = pattern_word(HOME + off + i, version);
}

void file_write(struct filemap *f, size_t off, size_t len, uint32_t version)
{
	char *buf = f->fd < 0 ? f->mem + off : malloc(len);

	file_store(buf, off, len, version);
	if (f->fd < 0)
		return;
	if (pwrite(f->fd, buf, len, off) != (ssize_t)len)
		die("write: %s", strerror(errno));
	free(buf);
}

void file_fill(struct filemap *f, size_t step, uint32_t version)
{
	size_t nr;

	for (nr = 0; nr < f->len / page_size; nr += step)
		file_write(f, nr * page_size, page_size, version);
}

void file_touch(const char *mem, size_t len)
{
	size_t off;

	for (off = 0; off < len; off += page_size)
		(void)*(volatile const char *)(mem + off);
}

void file_settle(struct filemap *f)
{
	int prot = PROT_READ | PROT_WRITE, seal = 0;

	if (file_on_disk(f->kind) && fsync(f->fd))
		die("fsync: %s", strerror(errno));
	if (f->kind == MEMFD_SEALED) {
		prot = PROT_READ;
		seal = F_SEAL_WRITE | F_SEAL_SHRINK;
	} else if (f->kind == MEMFD_FUTURE_SEALED) {
		seal = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK;
	}
	/* A mapping that may be written to has to be older than the one seal, and is forbidden by the other. */
	if (!f->mem && f->kind != MEMFD_SEALED)
		f->mem = file_map(f, prot, MAP_SHARED);
	if (seal && fcntl(f->fd, F_ADD_SEALS, seal))
		die("F_ADD_SEALS: %s", strerror(errno));
	if (!f->mem)
		f->mem = file_map(f, prot, MAP_SHARED);
	file_touch(f->mem, f->len);
}

void file_setup(struct filemap *f, enum file_kind kind, size_t nr_pmds, uint32_t version)
{
	file_create(f, kind, nr_pmds);
	file_fill(f, 1, version);
	file_settle(f);
	if (count_huge(0, f->mem, f->len))
		die("a file of small pages has huge ones");
}

void file_unmap(struct filemap *f)
{
	if (f->mem)
		region_unmap(f->mem, f->nr_pmds);
	f->mem = NULL;
}

void file_close(struct filemap *f)
{
	file_unmap(f);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

int file_verify(const char *mem, size_t off, size_t len, uint32_t version)
{
	return verify_home(mem, HOME + off, len, version);
}

int file_verify_all(const struct filemap *f, const char *mem, uint32_t version)
{
	return file_verify(mem, 0, f->len, version);
}

/* Pages of the file in the page cache. */
static size_t cached_pages(const struct filemap *f)
{
	char *mem = file_map(f, PROT_READ, MAP_SHARED);
	size_t i, n = 0, nr = f->len / page_size;
	unsigned char *vec = calloc(nr, 1);

	if (!vec || mincore(mem, f->len, vec))
		die("mincore: %s", strerror(errno));
	for (i = 0; i < nr; i++)
		n += vec[i] & 1;
	free(vec);
	region_unmap(mem, f->nr_pmds);
	return n;
}

int file_drop(struct filemap *f)
{
	uint64_t end = now_ms() + SETTLE_MS;

	if (!file_on_disk(f->kind))
		return 0;
	file_unmap(f);
	do {
		if (fsync(f->fd))
			return -errno;
		knob_set("/proc/sys/vm/drop_caches", "1");
		if (!cached_pages(f))
			return 0;
		sleep_ms(10);
	} while (now_ms() < end);
	printf("# %zu pages stay in the page cache\n", cached_pages(f));
	return -EBUSY;
}

int file_reread(struct filemap *f, uint32_t version)
{
	int err = file_drop(f);
	char *buf;
	size_t off;

	if (err)
		return err;
	if (f->fd < 0)
		return file_verify_all(f, f->mem, version);
	buf = aligned_alloc(page_size, page_size);
	for (off = 0; !err && off < f->len; off += page_size) {
		if (pread(f->fd, buf, page_size, off) != (ssize_t)page_size)
			err = -EIO;
		else
			err = file_verify(buf, off, page_size, version);
	}
	free(buf);
	return err;
}

/* ---- huge pages ---- */

long file_huge_kb(pid_t pid, const void *mem, size_t len)
{
	return smaps_kb(pid, mem, len, "FilePmdMapped") + smaps_kb(pid, mem, len, "ShmemPmdMapped");
}

void file_advise(struct filemap *f)
{
	/* A disk's files follow "enabled", tmpfs its mount option. */
	if (!file_on_disk(f->kind) && f->kind != TMPFS_FILE)
		knob_set("shmem_enabled", "advise");
	if (madvise(f->mem, f->len, MADV_HUGEPAGE))
		die("MADV_HUGEPAGE: %s", strerror(errno));
}

int file_wait_huge(const char *mem, size_t len, size_t nr, unsigned int ms)
{
	uint64_t end = now_ms() + ms;
	size_t off;

	for (;;) {
		for (off = 0; off < len; off += pmd_size)
			file_touch(mem + off, page_size);
		if (count_huge(0, mem, len) >= nr)
			return 0;
		if (now_ms() >= end)
			return late("%zu of %zu huge pages after %u ms",
				    count_huge(0, mem, len), nr, ms);
		sleep_ms(10);
	}
}

void file_split_pmds(char *mem, size_t len, int prot)
{
	char *p;

	for (p = mem; p < mem + len; p += pmd_size) {
		/* While one page differs, no PMD fits. */
		if (mprotect(p, page_size, prot ^ PROT_EXEC))
			die("mprotect: %s", strerror(errno));
		file_touch(p + page_size, pmd_size - page_size);
		if (mprotect(p, page_size, prot))
			die("mprotect: %s", strerror(errno));
	}
	file_touch(mem, len);
	if (count_huge(0, mem, len))
		die("a huge PMD survived mprotect() of one of its pages");
}
