// SPDX-License-Identifier: GPL-2.0
/* process_madvise(MADV_COLLAPSE): another process's memory, and whose right. */
#include <sys/syscall.h>
#include <sys/uio.h>
#include <linux/capability.h>

#include "harness.h"

#define MADV_COLLAPSE_ 25	/* older C libraries do not have it */

FIXTURE(remote) {
	char *mem;		/* four PMDs of small pages */
};

FIXTURE_SETUP(remote)
{
	knobs_baseline();
	self->mem = region_map(4);
	fill_small(self->mem, 4 * pmd_size, 1);
}

FIXTURE_TEARDOWN(remote)
{
}

#define PMD(n) (self->mem + (n) * pmd_size)
#define HUGE(n) count_huge(0, PMD(n), pmd_size)

static ssize_t process_collapse(int pidfd, const struct iovec *iov, size_t n,
				unsigned int flags)
{
	ssize_t ret = syscall(__NR_process_madvise, pidfd, iov, n, MADV_COLLAPSE_, flags);

	return ret < 0 ? -errno : ret;
}

TEST_F(remote, collapse_of_a_child)
{
	struct iovec iov[3] = {
		{ PMD(0), pmd_size }, { PMD(2), pmd_size }, { PMD(3), pmd_size },
	};
	int go[2], fd, status;
	pid_t child;
	char c;

	ASSERT_EQ(0, pipe(go));
	child = fork();
	if (!child) {
		close(go[1]);
		while (read(go[0], &c, 1) > 0)
			;
		_exit(verify(PMD(0), 4 * pmd_size, 1) || !HUGE(0) || HUGE(1) ||
		      !HUGE(2) || HUGE(3));
	}
	close(go[0]);
	fd = pidfd_open_(child);
	ASSERT_LE(0, fd);
	/* Bytes are counted up to the first vector that fails. */
	EXPECT_EQ(2 * pmd_size, process_collapse(fd, iov, 2, 0));
	EXPECT_EQ(2, count_huge(child, self->mem, 4 * pmd_size));
	EXPECT_EQ(0, count_huge(0, self->mem, 4 * pmd_size));
	iov[1].iov_base = self->mem - 4 * pmd_size;
	EXPECT_EQ(pmd_size, process_collapse(fd, iov, 3, 0));
	EXPECT_EQ(-ENOMEM, process_collapse(fd, iov + 1, 2, 0));
	EXPECT_EQ(-EINVAL, process_collapse(fd, iov, 1, 1));
	EXPECT_EQ(-EBADF, process_collapse(-1, iov, 1, 0));
	EXPECT_EQ(-EBADF, process_collapse(0x7fff, iov, 1, 0));
	EXPECT_EQ(0, process_collapse(fd, iov, 0, 0));
	close(go[1]);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(-ESRCH, process_collapse(fd, iov, 1, 0));
	close(fd);
	EXPECT_EQ(0, verify(self->mem, 4 * pmd_size, 1));
}

static int drop_sys_nice(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(__NR_capget, &head, data))
		return -errno;
	data[0].effective &= ~(1u << CAP_SYS_NICE);
	data[0].permitted &= ~(1u << CAP_SYS_NICE);
	return syscall(__NR_capset, &head, data) ? -errno : 0;
}

TEST_F(remote, collapse_needs_cap_sys_nice)
{
	pid_t parent = getpid(), child = fork();
	int status;

	if (!child) {
		int other = pidfd_open_(parent), self_fd = pidfd_open_(getpid());
		struct iovec iov = { PMD(0), pmd_size };

		if (drop_sys_nice())
			_exit(1);
		if (process_collapse(other, &iov, 1, 0) != -EPERM)
			_exit(2);
		/* One's own memory needs no right. */
		if (process_collapse(self_fd, &iov, 1, 0) != (ssize_t)pmd_size)
			_exit(3);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_EQ(0, count_huge(0, self->mem, 4 * pmd_size));
}

COLLAPSE_HARNESS_MAIN
