// SPDX-License-Identifier: GPL-2.0
/* References from outside: vmsplice and io_uring. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/io_uring.h>

#include "collapse.h"

int pin_vmsplice(struct pin *pin, void *addr)
{
	struct iovec iov = { addr, page_size };

	if (pipe(pin->fd))
		return -errno;
	if (vmsplice(pin->fd[1], &iov, 1, 0) == (ssize_t)page_size)
		return 0;
	pin_release(pin);
	return -EIO;
}

int pin_uring(struct pin *pin, void *addr, size_t len)
{
	struct io_uring_params params;
	struct iovec iov = { addr, len };
	int err;

	memset(&params, 0, sizeof(params));
	pin->fd[1] = -1;
	pin->fd[0] = syscall(__NR_io_uring_setup, 1, &params);
	if (pin->fd[0] < 0)
		return -errno;
	if (syscall(__NR_io_uring_register, pin->fd[0],
		    IORING_REGISTER_BUFFERS, &iov, 1) == 0)
		return 0;
	err = -errno;
	pin_release(pin);
	return err;
}

void pin_release(struct pin *pin)
{
	int i;

	/* The registration goes before the ring so that it is synchronous. */
	if (pin->fd[1] < 0 && pin->fd[0] >= 0)
		syscall(__NR_io_uring_register, pin->fd[0],
			IORING_UNREGISTER_BUFFERS, NULL, 0);
	for (i = 0; i < 2; i++)
		if (pin->fd[i] >= 0)
			close(pin->fd[i]);
	pin->fd[0] = pin->fd[1] = -1;
}
