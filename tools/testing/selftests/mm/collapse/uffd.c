// SPDX-License-Identifier: GPL-2.0
/* userfaultfd: registration, and a thread that resolves and counts events. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

#include "collapse.h"

int uffd_open(unsigned int features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int err;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int uffd_register_range(int fd, void *start, size_t len, unsigned long mode)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)start, len },
		.mode = mode,
	};

	return ioctl(fd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

int uffd_wp(int fd, void *start, size_t len, bool protect)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)start, len },
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

int uffd_copy_page(int fd, void *dst, const void *src, size_t len, unsigned long mode)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = len,
		.mode = mode,
	};

	return ioctl(fd, UFFDIO_COPY, &copy) ? -errno : 0;
}

static void resolve(struct uffd_watch *w, const struct uffd_msg *msg)
{
	char *at = (char *)(uintptr_t)(msg->arg.pagefault.address / page_size * page_size);
	int err;

	if (msg->event != UFFD_EVENT_PAGEFAULT)
		return;
	/* Before the faulting thread runs on and looks. */
	__atomic_store_n(&w->last, (uintptr_t)at, __ATOMIC_SEQ_CST);
	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		__atomic_add_fetch(&w->wp, 1, __ATOMIC_SEQ_CST);
		do {
			err = uffd_wp(w->fd, at, page_size, false);
		} while (err == -EAGAIN);
	} else {
		__atomic_add_fetch(&w->missing, 1, __ATOMIC_SEQ_CST);
		do {
			err = uffd_copy_page(w->fd, at, w->page, page_size, 0);
		} while (err == -EAGAIN);
		if (err == -EEXIST) {
			struct uffdio_range r = { (uintptr_t)at, page_size };

			ioctl(w->fd, UFFDIO_WAKE, &r);
		}
	}
}

static void *watch(void *arg)
{
	struct uffd_watch *w = arg;
	struct pollfd fds[2] = {
		{ .fd = w->fd, .events = POLLIN },
		{ .fd = w->stop[0], .events = POLLIN },
	};
	struct uffd_msg msg;

	while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
		if (fds[1].revents)
			break;
		while (read(w->fd, &msg, sizeof(msg)) == sizeof(msg))
			resolve(w, &msg);
	}
	return NULL;
}

int uffd_watch_start(struct uffd_watch *w, unsigned int features)
{
	memset(w, 0, sizeof(*w));
	w->fd = uffd_open(features);
	if (w->fd < 0)
		return w->fd;
	w->page = aligned_alloc(page_size, page_size);
	if (!w->page || pipe(w->stop))
		return -ENOMEM;
	memset(w->page, 0, page_size);
	return -pthread_create(&w->thread, NULL, watch, w);
}

void uffd_watch_stop(struct uffd_watch *w)
{
	if (write(w->stop[1], "x", 1) != 1)
		die("cannot stop the userfaultfd thread");
	pthread_join(w->thread, NULL);
	close(w->fd);
	close(w->stop[0]);
	close(w->stop[1]);
	free(w->page);
}
