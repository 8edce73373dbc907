// SPDX-License-Identifier: GPL-2.0
/* Races over one file: everything at once, and who takes part in it. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file_race.h"

/*
 * Class 35. Cut somewhere in the last PMD, made longer again, written: what
 * was cut off is zero. Nobody else touches that memory, but it is collapsed.
 */
void *file_race_truncater(void *arg)
{
	struct race *r = arg;
	struct file_race *fr = r->private;
	size_t first = race_pages(r) - pmd_pages, n;

	while (!r->stop) {
		size_t keep = race_random() % 4 ? race_random() % pmd_pages : 0;

		if (ftruncate(fr->f.fd, (first + keep) * page_size) ||
		    (sched_yield(), ftruncate(fr->f.fd, fr->f.len))) {
			race_fail(r, "ftruncate: %s", strerror(errno));
			break;
		}
		race_add(r->disturbed, 1);
		for (n = first + keep; n < race_pages(r); n++)
			r->version[n] = 0;
		for (n = first; n < race_pages(r) && !r->stop; n += race_random() % 16 + 1) {
			if (!race_check(r, n))
				return NULL;
			race_write(r, n);
		}
		sched_yield();
	}
	return NULL;
}

/* Everything that may take pages away and must bring them back. */
void *file_race_reclaimer(void *arg)
{
	struct race *r = arg;
	struct file_race *fr = r->private;

	while (!r->stop) {
		size_t n = race_random() % (race_pages(r) - pmd_pages);
		size_t nr = race_random() % 64 + 1;

		switch (race_random() % 5) {
		case 0:
			knob_try("/proc/sys/vm/drop_caches", "1");
			break;
		case 1:
			memcg_set(&fr->cg, "memory.reclaim", "4M");
			break;
		case 2:
			if (fr->f.fd >= 0)
				sync_file_range(fr->f.fd, n * page_size, nr * page_size,
						SYNC_FILE_RANGE_WRITE);
			break;
		case 3:
			if (fr->f.fd >= 0)
				posix_fadvise(fr->f.fd, n * page_size, nr * page_size,
					      POSIX_FADV_DONTNEED);
			break;
		default:
			madvise(race_page(r, n), nr * page_size, MADV_PAGEOUT);
		}
		race_add(r->disturbed, 1);
		sleep_ms(1);
	}
	return NULL;
}

/*
 * Class 47: a mapping of the still PMD that changes its place, table and all.
 * Where it was, the same file stays, empty: nobody else may settle there.
 */
void *file_race_mover(void *arg)
{
	struct race *r = arg;
	struct file_race *fr = r->private;
	char *place[2] = {
		file_map(&fr->f, PROT_READ, MAP_SHARED), file_map(&fr->f, PROT_READ, MAP_SHARED)
	};
	char *at = place[0];
	size_t n, i = 0;

	while (!r->stop) {
		file_touch(at, pmd_size);
		at = mremap(at, fr->f.len, fr->f.len,
			    MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, place[++i % 2]);
		if (at == MAP_FAILED) {
			race_fail(r, "mremap: %s", strerror(errno));
			break;
		}
		race_add(r->disturbed, 1);
		if (race_random() % 2)
			race_collapse(r, at, pmd_size);
		for (n = race_random() % 37; n < pmd_pages; n += 37)
			file_race_still(fr, at + n * page_size, n);
		if (i % 4 == 0)
			sched_yield();
	}
	munmap(place[0], fr->f.len);
	munmap(place[1], fr->f.len);
	return NULL;
}

/* Class 13: tables that go away by themselves while they are taken down. */
void *file_race_forker(void *arg)
{
	struct race *r = arg;
	struct file_race *fr = r->private;

	while (!r->stop) {
		pid_t pid = fork();
		int status;
		size_t n;

		if (!pid) {
			signal(SIGABRT, SIG_DFL);
			file_touch(fr->second, pmd_size);
			for (n = 0; n < pmd_pages; n += 41)
				if (!file_race_still(fr, race_page(r, n), n))
					_exit(1);
			if (race_random() % 4 == 0)
				collapse(fr->second, pmd_size);
			if (race_random() % 2)
				kill(getpid(), SIGKILL);
			_exit(0);
		}
		if (pid < 0) {
			sleep_ms(10);
			continue;
		}
		waitpid(pid, &status, 0);
		race_add(r->disturbed, 1);
		if (WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status) != SIGKILL)
			race_fail(r, "a child ended with %#x", status);
	}
	return NULL;
}

/* Class 54: per-VMA locks and tables that come and go. */
void *file_race_faulter(void *arg)
{
	struct race *r = arg;
	struct file_race *fr = r->private;
	char *mine = file_map(&fr->f, PROT_READ, MAP_SHARED);

	while (!r->stop) {
		size_t n = race_random() % pmd_pages;

		madvise(mine, race_random() % 2 ? pmd_size : page_size, MADV_DONTNEED);
		if (!file_race_still(fr, mine + n * page_size, n))
			break;
		race_add(r->disturbed, 1);
		if (n % 32 == 0)
			sched_yield();
	}
	munmap(mine, fr->f.len);
	return NULL;
}

int file_race_everything(enum file_kind kind)
{
	struct file_race *fr = file_race_start("everything", kind, 4);
	struct race *r = fr->r;

	race_thread(r, file_race_writer);
	race_thread(r, file_race_writer_odd);
	race_thread(r, file_race_collapser);
	race_thread(r, file_race_collapser);
	if (fr->may_cut)
		race_thread(r, file_race_truncater);
	/* Truncation of large swap entries is not this test's matter. */
	if (!file_on_disk(kind) && !getenv("RACE_CUT"))
		memcg_set(&fr->cg, "memory.swap.max", "0");
	race_thread(r, file_race_reclaimer);
	race_thread(r, file_race_reader);
	race_thread(r, file_race_mover);
	race_thread(r, file_race_forker);
	race_thread(r, file_race_faulter);
	race_thread(r, file_race_splitter);
	return file_race_finish(fr);
}
