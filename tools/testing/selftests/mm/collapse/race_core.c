// SPDX-License-Identifier: GPL-2.0
/* A process that dumps core while others collapse its memory: the file has every page as it was. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "race.h"

#define PMDS 2

/* A reader that takes its time, so that the dump lasts; the file has its name when it is complete. */
int core_receive(const char *file)
{
	static char buf[1 << 16];
	char part[PATH_MAX];
	ssize_t n;
	int fd;

	snprintf(part, sizeof(part), "%s.part", file);
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	while ((n = read(0, buf, sizeof(buf))) > 0) {
		if (write(fd, buf, n) != n)
			return 1;
		usleep(500);
	}
	close(fd);
	return rename(part, file) ? 1 : 0;
}

/* The page at @page in the core file: 0 if it has the stamp, or a reason. */
static const char *dumped_page(int fd, const Elf64_Phdr *part, size_t nr, char *page, uint32_t version)
{
	size_t at[] = { 0, page_size / 2, page_size - sizeof(uint64_t) }, i;
	uintptr_t start = (uintptr_t)page;
	uint64_t word;

	for (; nr; nr--, part++)
		if (part->p_type == PT_LOAD && part->p_vaddr <= start && start + page_size <= part->p_vaddr + part->p_filesz)
			break;
	if (!nr)
		return "is not in the core file";
	for (i = 0; i < 3; i++) {
		if (pread(fd, &word, sizeof(word), part->p_offset + (start - part->p_vaddr) + at[i]) != sizeof(word))
			return "is beyond the end of the core file";
		if (word != pattern_word(page + at[i], version))
			return "has lost its content in the core file";
	}
	return NULL;
}

static void check_core(struct race *r, const char *file, char *mem, uint32_t version)
{
	int fd = open(file, O_RDONLY);
	const char *wrong = NULL;
	Elf64_Phdr *parts = NULL;
	Elf64_Ehdr head;
	size_t n, len;

	if (fd < 0 || read(fd, &head, sizeof(head)) != sizeof(head) || memcmp(head.e_ident, ELFMAG, SELFMAG)) {
		race_fail(r, "no core file");
		goto out;
	}
	len = head.e_phnum * sizeof(*parts);
	parts = malloc(len);
	if (!parts || pread(fd, parts, len, head.e_phoff) != (ssize_t)len) {
		race_fail(r, "a core file without program headers");
		goto out;
	}
	for (n = 0; n < PMDS * pmd_pages && !wrong; n++)
		wrong = dumped_page(fd, parts, head.e_phnum, mem + n * page_size, version);
	if (wrong)
		race_fail(r, "page %zu %s", n - 1, wrong);
	race_add(r->checked, n);
out:
	free(parts);
	if (fd >= 0)
		close(fd);
	unlink(file);
}

static void *self_collapser(void *mem)
{
	size_t n = 0;

	for (;;)
		collapse((char *)mem + n++ % PMDS * pmd_size, pmd_size);
	return NULL;
}

/* Has some threads collapse it, is huge in part, and crashes. */
static void crash(char *mem, uint32_t version)
{
	pthread_t thread;
	size_t n;

	madvise(mem, PMDS * pmd_size, MADV_HUGEPAGE);
	for (n = 0; n < PMDS * pmd_pages; n++)
		stamp(mem + n * page_size, version);
	for (n = 0; n < 2; n++)
		pthread_create(&thread, NULL, self_collapser, mem);
	for (n = race_random() % 20; n; n--) {
		madvise(mem + race_random() % (PMDS * pmd_pages) * page_size, page_size, MADV_COLD);
		sched_yield();
	}
	signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV);
	_exit(1);
}

static bool over(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) != 0;
}

static void *crasher(void *arg)
{
	struct race *r = arg;
	char *mem = region_map(PMDS);
	char file[64];

	snprintf(file, sizeof(file), "/tmp/collapse-core.%d", getpid());
	while (!r->stop) {
		uint32_t version = race_random() % 0xffff00 + 1;
		uint64_t end = now_ms() + 30000;
		int status, fd;
		size_t n = 0;
		pid_t pid = fork();

		if (!pid)
			crash(mem, version);
		fd = pidfd_open_(pid);
		while (fd >= 0 && !over(fd))
			if (collapse_process(fd, mem + n++ % PMDS * pmd_size, pmd_size) > 0)
				race_add(r->collapsed, 1);
		if (fd >= 0)
			close(fd);
		if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || !WCOREDUMP(status)) {
			race_fail(r, "the child dumped no core: status %#x", status);
			break;
		}
		while (access(file, F_OK) && now_ms() < end)
			sleep_ms(5);
		check_core(r, file, mem, version);
		race_add(r->disturbed, 1);
	}
	return NULL;
}

int race_core(void)
{
	char self[PATH_MAX - 64], pattern[PATH_MAX], old[128] = "";
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct race *r = race_start("core", 1);
	int err;

	if (n < 0 || knob_read("/proc/sys/kernel/core_pattern", old, sizeof(old)))
		die("no /proc");
	self[n] = 0;
	snprintf(pattern, sizeof(pattern), "|%s --receive /tmp/collapse-core.%d", self, getpid());
	if (strlen(pattern) > sizeof(old) - 1)
		die("the path of this program is too long for core_pattern: %s", self);
	knob_set("/proc/sys/kernel/core_pattern", pattern);
	race_thread(r, crasher);
	race_wait(r);
	err = race_finish(r);
	knob_set("/proc/sys/kernel/core_pattern", old);
	return err;
}
