/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * race ROUNDS ALLOWED DENIED: opens, truncates, touches and renames a path of which another thread changes the
 * string between the two names all the time. Prints how often each succeeded, and was refused with EACCES.
 *
 * race swap LINK ALLOWED DENIED: makes LINK point to the one and to the other, until it is killed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[4096];
static const char *names[2];
static size_t differs, length;

static void *rewrite(void *unused)
{
	for (unsigned i = 0;; i++)
		for (size_t at = differs; at < length; at++)
			((volatile char *)path)[at] = names[i & 1][at];
	return unused;
}

static int open_and_write(void)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0)
		return -1;
	if (write(fd, "raced\n", 6) != 6)
		exit(3);
	return close(fd);
}

static int attempt(int what)
{
	static const struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

	switch (what) {
	case 0:
		return open_and_write();
	case 1:
		return truncate(path, 0);
	case 2:
		return utimensat(AT_FDCWD, path, times, 0);
	default:
		return chmod(path, 0600);
	}
}

static int swap(const char *link, const char *const targets[2])
{
	char fresh[4096];

	snprintf(fresh, sizeof(fresh), "%s.new", link);
	unlink(fresh);	/* of one that was killed */
	/* The pause lets paths be read at all: a walk that a rename crossed is done again. */
	for (unsigned i = 0;; i++, usleep(50))
		if (symlink(targets[i & 1], fresh) || rename(fresh, link))
			return 1;
}

int main(int argc, char **argv)
{
	static long succeeded[4], refused[4], other[4];
	pthread_t thread;

	if (argc == 5 && !strcmp(argv[1], "swap"))
		return swap(argv[2], (const char *const *)&argv[3]);
	if (argc != 4)
		return 2;
	names[0] = argv[2];
	names[1] = argv[3];
	length = strlen(names[0]);
	strcpy(path, names[0]);
	if (strcmp(names[0], names[1])) {	/* else: the name stays, and what it stands for changes */
		if (strlen(names[1]) != length)
			return 2;
		while (names[0][differs] == names[1][differs])
			differs++;
		if (pthread_create(&thread, NULL, rewrite, NULL))
			return 4;
	}
	for (long i = 0; i < atol(argv[1]); i++) {
		int what = i & 3;

		errno = 0;
		if (!attempt(what))
			succeeded[what]++;
		else if (errno == EACCES)
			refused[what]++;
		else
			other[what]++;
	}
	for (int what = 0; what < 4; what++)
		printf("%ld %ld %ld\n", succeeded[what], refused[what], other[what]);
	return 0;
}
