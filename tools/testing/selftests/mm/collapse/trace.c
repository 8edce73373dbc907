// SPDX-License-Identifier: GPL-2.0
/* Capture of trace events through tracefs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "collapse.h"

#define TRACEFS "/sys/kernel/tracing"

static char enabled_path[192];

static int trace_dir(void)
{
	if (access(TRACEFS "/tracing_on", F_OK) == 0)
		return 0;
	return mount("tracefs", TRACEFS, "tracefs", 0, NULL) ? -errno : 0;
}

/* The buffer is emptied by the truncation, not by what is written. */
static void trace_clear(void)
{
	int fd = open(TRACEFS "/trace", O_WRONLY | O_TRUNC);

	if (fd >= 0)
		close(fd);
}

int trace_start(const char *events)
{
	int err = trace_dir();

	if (err)
		return err;
	knob_try(TRACEFS "/tracing_on", "0");
	trace_clear();
	knob_try(TRACEFS "/buffer_size_kb", "8192");
	snprintf(enabled_path, sizeof(enabled_path), TRACEFS "/events/%s/enable", events);
	err = knob_try(enabled_path, "1");
	if (!err)
		err = knob_try(TRACEFS "/tracing_on", "1");
	return err;
}

void trace_stop(void)
{
	knob_try(TRACEFS "/tracing_on", "0");
	if (enabled_path[0])
		knob_try(enabled_path, "0");
}

char *trace_take(void)
{
	size_t len = 0, room = 1 << 20;
	char *text = malloc(room);
	int fd = open(TRACEFS "/trace", O_RDONLY);
	ssize_t n;

	while (fd >= 0 && text && (n = read(fd, text + len, room - len - 1)) > 0) {
		len += n;
		if (room - len < 4096)
			text = realloc(text, room *= 2);
	}
	if (fd >= 0)
		close(fd);
	if (text)
		text[len] = 0;
	trace_clear();
	return text;
}

int trace_count(const char *text, const char *what)
{
	int n = 0;

	while (text && (text = strstr(text, what))) {
		n++;
		text = strchr(text, '\n');
	}
	return n;
}
