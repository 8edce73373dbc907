// SPDX-License-Identifier: GPL-2.0
/* Races with those who hold or watch pages: userfaultfd, GUP, KSM. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>

#include "race.h"

/* ---- userfaultfd: each event exactly once ---- */

static void uffd_missing_once(struct race *r, struct uffd_watch *w, size_t n)
{
	char *page = race_page(r, n);
	unsigned long before = w->missing;

	if (madvise(page, page_size, MADV_DONTNEED)) {
		race_fail(r, "MADV_DONTNEED: %s", strerror(errno));
		return;
	}
	sched_yield();
	/* The handler fills in zeroes. */
	if (stamp_check(page, 0))
		race_fail(r, "discarded content came back");
	if (w->missing != before + 1)
		race_fail(r, "%lu events for one missing page", w->missing - before);
	r->version[n] = 0;
}

static void uffd_wp_once(struct race *r, struct uffd_watch *w, size_t n)
{
	char *page = race_page(r, n);
	unsigned long before = w->wp;
	int err;

	do {
		err = uffd_wp(w->fd, page, page_size, true);
	} while (err == -EAGAIN);
	if (err) {
		race_fail(r, "UFFDIO_WRITEPROTECT: %s", strerror(-err));
		return;
	}
	sched_yield();
	if (!race_check(r, n))
		return;
	race_write(r, n);
	if (w->wp != before + 1)
		race_fail(r, "%lu events for one write to a protected page", w->wp - before);
}

static void *uffd_owner(void *arg)
{
	struct race *r = arg;
	struct uffd_watch *w = r->private;

	while (!r->stop) {
		size_t n = race_random() % race_pages(r), i;
		unsigned long wp, missing;

		if (!race_check(r, n))
			break;
		if (race_random() & 1)
			uffd_missing_once(r, w, n);
		else
			uffd_wp_once(r, w, n);
		race_add(r->disturbed, 1);
		/* Neighbours raise nothing. */
		wp = w->wp;
		missing = w->missing;
		for (i = 0; i < 256; i++) {
			n = race_random() % race_pages(r);
			if (race_check(r, n))
				race_write(r, n);
			if (i % 32 == 0)
				sched_yield();
		}
		if (wp != w->wp || missing != w->missing)
			race_fail(r, "an event that nobody asked for");
	}
	return NULL;
}

int race_uffd(void)
{
	struct race *r = race_start("uffd", 2);
	struct uffd_watch w;
	int err;

	err = uffd_watch_start(&w, 0);
	if (!err)
		err = uffd_register_range(w.fd, r->base, r->nr_pmds * pmd_size,
					  UFFDIO_REGISTER_MODE_MISSING |
					  UFFDIO_REGISTER_MODE_WP);
	if (err)
		die("userfaultfd: %s", strerror(-err));
	r->private = &w;
	race_thread(r, uffd_owner);
	race_thread(r, race_collapser);
	race_thread(r, race_collapser);
	race_thread(r, race_splitter);
	race_wait(r);
	uffd_watch_stop(&w);
	return race_finish(r);
}

/* ---- references from GUP ---- */

static void make_stamp(char *buf, const char *home, uint32_t version)
{
	size_t at[] = { 0, page_size / 2, page_size - sizeof(uint64_t) }, i;

	memset(buf, 0, page_size);
	for (i = 0; i < 3; i++)
		*(uint64_t *)(buf + at[i]) = pattern_word(home + at[i], version);
}

/* What is written after the page was spliced must be what the pipe delivers. */
static void *splicer(void *arg)
{
	struct race *r = arg;
	char *buf = malloc(page_size), *want = malloc(page_size);

	while (!r->stop) {
		size_t n = race_random() % race_pages(r) / 4 * 4;
		size_t at[] = { 0, page_size / 2, page_size - sizeof(uint64_t) }, i;
		struct pin pin;

		if (!race_check(r, n))
			break;
		if (pin_vmsplice(&pin, race_page(r, n)))
			die("vmsplice: %s", strerror(errno));
		race_write(r, n);
		sched_yield();
		race_write(r, n);
		if (read(pin.fd[0], buf, page_size) != (ssize_t)page_size)
			die("pipe: %s", strerror(errno));
		pin_release(&pin);
		make_stamp(want, race_page(r, n), r->version[n]);
		for (i = 0; i < 3; i++)
			if (memcmp(buf + at[i], want + at[i], sizeof(uint64_t)))
				race_fail(r, "a spliced page was replaced under its user");
		race_add(r->disturbed, 1);
		race_check(r, n);
	}
	free(buf);
	free(want);
	return NULL;
}

/* The kernel writes through a short reference. */
static void *remote_writer(void *arg)
{
	struct race *r = arg;
	char *buf = malloc(page_size);

	while (!r->stop) {
		size_t n = race_random() % race_pages(r) / 4 * 4 + 1;
		struct iovec from = { buf, page_size }, to = { race_page(r, n), page_size };

		if (!race_check(r, n))
			break;
		r->version[n] = r->version[n] % 0xffff00 + 1;
		make_stamp(buf, race_page(r, n), r->version[n]);
		if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) != (ssize_t)page_size)
			race_fail(r, "process_vm_writev: %s", strerror(errno));
		race_add(r->disturbed, 1);
		race_check(r, n);
	}
	free(buf);
	return NULL;
}

struct ring {
	int fd;
	unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static void ring_open(struct ring *ring)
{
	struct io_uring_params p;
	char *sq, *cq;

	memset(&p, 0, sizeof(p));
	ring->fd = syscall(__NR_io_uring_setup, 2, &p);
	if (ring->fd < 0)
		die("io_uring: %s", strerror(errno));
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(unsigned int),
		  PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe),
		  PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_CQ_RING);
	ring->sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe),
			  PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || ring->sqes == MAP_FAILED)
		die("io_uring: %s", strerror(errno));
	ring->sq_tail = (unsigned int *)(sq + p.sq_off.tail);
	ring->sq_mask = (unsigned int *)(sq + p.sq_off.ring_mask);
	ring->sq_array = (unsigned int *)(sq + p.sq_off.array);
	ring->cq_head = (unsigned int *)(cq + p.cq_off.head);
	ring->cq_tail = (unsigned int *)(cq + p.cq_off.tail);
	ring->cq_mask = (unsigned int *)(cq + p.cq_off.ring_mask);
	ring->cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
}

/* Reads a page of @file into the registered buffer; the result of the request. */
static int ring_read_fixed(struct ring *ring, int file, char *to)
{
	unsigned int tail = *ring->sq_tail, slot = tail & *ring->sq_mask;
	struct io_uring_sqe *sqe = &ring->sqes[slot];
	int res;

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_READ_FIXED;
	sqe->fd = file;
	sqe->addr = (uintptr_t)to;
	sqe->len = page_size;
	ring->sq_array[slot] = slot;
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -errno;
	if (__atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) == *ring->cq_head)
		return -EIO;
	res = ring->cqes[*ring->cq_head & *ring->cq_mask].res;
	__atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
	return res;
}

/* A long-term pin, through which data arrives later. */
static void *ring_writer(void *arg)
{
	struct race *r = arg;
	int file = memfd_create("race", 0), res;
	char *buf = malloc(page_size);
	struct ring ring;

	ring_open(&ring);
	while (!r->stop) {
		size_t n = race_random() % race_pages(r) / 4 * 4 + 2;
		struct iovec iov = { race_page(r, n), page_size };

		if (!race_check(r, n))
			break;
		if (syscall(__NR_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &iov, 1)) {
			race_fail(r, "io_uring buffer: %s", strerror(errno));
			break;
		}
		r->version[n] = r->version[n] % 0xffff00 + 1;
		make_stamp(buf, race_page(r, n), r->version[n]);
		if (pwrite(file, buf, page_size, 0) != (ssize_t)page_size)
			die("memfd: %s", strerror(errno));
		sched_yield();
		res = ring_read_fixed(&ring, file, race_page(r, n));
		if (res != (int)page_size)
			race_fail(r, "io_uring read: %d", res);
		race_add(r->disturbed, 1);
		race_check(r, n);
		syscall(__NR_io_uring_register, ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
	}
	close(ring.fd);
	close(file);
	free(buf);
	return NULL;
}

static void *plain_writer(void *arg)
{
	struct race *r = arg;
	unsigned int i = 0;

	while (!r->stop) {
		size_t n = race_random() % race_pages(r) / 4 * 4 + 3;

		if (race_check(r, n))
			race_write(r, n);
		if (++i % 32 == 0)
			sched_yield();
	}
	return NULL;
}

int race_pin(void)
{
	struct race *r = race_start("pin", 4);

	race_thread(r, splicer);
	race_thread(r, remote_writer);
	race_thread(r, ring_writer);
	race_thread(r, plain_writer);
	race_thread(r, race_collapser);
	race_thread(r, race_collapser);
	race_thread(r, race_splitter);
	return race_finish(r);
}

/* ---- KSM ---- */

/*
 * Two contents for each place in a PMD, so that each page has twins in the
 * other PMDs, and zero for some: that is special with use_zero_pages.
 */
static const char *content_of(struct race *r, size_t n)
{
	size_t place = n % pmd_pages;

	return (char *)r->private + (2 * (place % 16 ? place : 0) + r->version[n]) * page_size;
}

static void twin_write(struct race *r, size_t n)
{
	r->version[n] = race_random() & 1;
	memcpy(race_page(r, n), content_of(r, n), page_size);
}

static bool twin_check(struct race *r, size_t n)
{
	race_add(r->checked, 1);
	if (!memcmp(race_page(r, n), content_of(r, n), page_size))
		return true;
	race_fail(r, "page %zu of PMD %zu differs from what was written",
		  n % pmd_pages, n / pmd_pages);
	return false;
}

static void *twin_writer(void *arg)
{
	struct race *r = arg;

	while (!r->stop) {
		size_t n = race_random() % race_pages(r);

		if (!twin_check(r, n))
			break;
		/* Rarely: KSM takes what has not changed for a whole pass. */
		if (race_random() % 64 == 0)
			twin_write(r, n);
		else
			sched_yield();
	}
	return NULL;
}

static long merged(struct race *r)
{
	return vmstat("cow_ksm") + knob_num("/sys/kernel/mm/ksm/pages_sharing") +
	       knob_num("/sys/kernel/mm/ksm/ksm_zero_pages");
}

int race_ksm(void)
{
	struct race *r = race_start("ksm", 2);
	size_t n;

	if (knob_try("/sys/kernel/mm/ksm/run", "2"))
		die("no KSM: build with KSM");
	r->private = mmap(NULL, 2 * pmd_size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->private == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	/* Both contents of place 0 stay zero. */
	fill((char *)r->private + 2 * page_size, 2 * (pmd_size - page_size), 7);
	for (n = 0; n < race_pages(r); n++)
		twin_write(r, n);
	if (madvise(r->base, r->nr_pmds * pmd_size, MADV_MERGEABLE))
		die("MADV_MERGEABLE: %s", strerror(errno));
	race_count(r, merged);
	setpriority(PRIO_PROCESS, kernel_thread_pid("ksmd"), 0);
	knob_set("/sys/kernel/mm/ksm/use_zero_pages", "1");
	knob_set("/sys/kernel/mm/ksm/pages_to_scan", "2000");
	knob_set("/sys/kernel/mm/ksm/sleep_millisecs", "1");
	knob_set("/sys/kernel/mm/ksm/run", "1");
	race_thread(r, twin_writer);
	race_thread(r, race_collapser);
	race_thread(r, race_splitter);
	race_wait(r);
	knob_set("/sys/kernel/mm/ksm/run", "0");
	setpriority(PRIO_PROCESS, kernel_thread_pid("ksmd"), 5);
	for (n = 0; n < race_pages(r) && !r->failed; n++)
		twin_check(r, n);
	r->version = NULL;
	return race_finish(r);
}
