// SPDX-License-Identifier: GPL-2.0
/* userfaultfd, and a thread that answers minor faults. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hgm.h"

int uffd_open(uint64_t features)
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

int uffd_register(int fd, void *start, size_t len, uint64_t modes)
{
	struct uffdio_register reg = { .range = { (uintptr_t)start, len }, .mode = modes };

	return ioctl(fd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

int uffd_unregister(int fd, void *start, size_t len)
{
	struct uffdio_range range = { (uintptr_t)start, len };

	return ioctl(fd, UFFDIO_UNREGISTER, &range) ? -errno : 0;
}

int uffd_wake(int fd, void *start, size_t len)
{
	struct uffdio_range range = { (uintptr_t)start, len };

	return ioctl(fd, UFFDIO_WAKE, &range) ? -errno : 0;
}

int uffd_continue(int fd, void *start, size_t len, int64_t *mapped)
{
	struct uffdio_continue c = { .range = { (uintptr_t)start, len } };
	int err = ioctl(fd, UFFDIO_CONTINUE, &c) ? -errno : 0;

	if (mapped)
		*mapped = c.mapped;
	return err;
}

int uffd_copy(int fd, void *dst, const void *src, size_t len)
{
	struct uffdio_copy copy = { .dst = (uintptr_t)dst, .src = (uintptr_t)src, .len = len };

	return ioctl(fd, UFFDIO_COPY, &copy) ? -errno : 0;
}

int uffd_message(int fd, struct uffd_msg *msg, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, ms) < 1)
		return -ETIMEDOUT;
	return read(fd, msg, sizeof(*msg)) == sizeof(*msg) ? 0 : -ETIMEDOUT;
}

int arena_continue(const struct arena *a, size_t off, size_t len)
{
	return uffd_continue(a->uffd, a->guest + off, len, NULL);
}

int arena_continue_small(const struct arena *a, size_t off, size_t len)
{
	size_t at;
	int err;

	for (at = off; at < off + len; at += SMALL) {
		err = arena_continue(a, at, SMALL);
		if (err)
			return err;
	}
	return 0;
}

int collapse(void *start, size_t len)
{
	return madvise(start, len, MADV_COLLAPSE) ? -errno : 0;
}

int collapse_settled(void *start, size_t len)
{
	uint64_t end = now_ms() + 10000;
	int err;

	while ((err = collapse(start, len)) == -EAGAIN && now_ms() < end)
		sleep_ms(1);
	return err;
}

/* A small page is continued, or somebody else has done it: then who waits must look again. */
static void resolve(struct server *s, size_t small)
{
	char *at = s->a->guest + small * SMALL;
	int err;

	do {
		err = uffd_continue(s->a->uffd, at, SMALL, NULL);
		if (err == -EAGAIN)
			count_up(s->again);
	} while (err == -EAGAIN);
	if (!err)
		return;
	if (err == -EEXIST) {
		count_up(s->exist);
	} else if (err == -EFAULT) {
		/* Cut off in the meantime: the fault will find a hole, which is no minor fault. */
		count_up(s->holes);
	} else {
		wrong("CONTINUE of small page %zu: %s", small, strerror(-err));
		s->failed = true;
	}
	uffd_wake(s->a->uffd, at, SMALL);
}

static void *serve(void *arg)
{
	struct server *s = arg;
	struct pollfd fds[2] = {
		{ .fd = s->a->uffd, .events = POLLIN }, { .fd = s->stop[0], .events = POLLIN },
	};
	struct uffd_msg msg;
	size_t off;

	while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
		while (read(s->a->uffd, &msg, sizeof(msg)) == sizeof(msg)) {
			off = msg.arg.pagefault.address - (uintptr_t)s->a->guest;
			if (msg.event != UFFD_EVENT_PAGEFAULT || off >= s->a->len ||
			    !(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR)) {
				wrong("message: event %#x, flags %#llx, offset %#zx", msg.event,
				      (unsigned long long)msg.arg.pagefault.flags, off);
				s->failed = true;
				continue;
			}
			count_up(s->messages);
			if (s->arrive)
				s->arrive(s, off / SMALL);
			resolve(s, off / SMALL);
		}
		if (fds[1].revents)
			break;
	}
	return NULL;
}

void server_start(struct server *s)
{
	if (pipe2(s->stop, O_CLOEXEC) || pthread_create(&s->thread, NULL, serve, s))
		die("no thread that answers faults");
}

int server_stop(struct server *s)
{
	if (write(s->stop[1], "x", 1) != 1)
		die("cannot stop the thread that answers faults");
	pthread_join(s->thread, NULL);
	close(s->stop[0]);
	close(s->stop[1]);
	return s->failed ? -EIO : 0;
}
