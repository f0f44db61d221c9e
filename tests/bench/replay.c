/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Does what a trace says (tests/bench/trace.py), and answers each line of standard input with the nanoseconds that took,
 * and with those of a processor that it and its children had:
 *   replay FILE 0     one operation after the other
 *   replay FILE 1     with the recorded pauses before them
 * A line of the trace: the pause in microseconds, a letter, a path or two, below the current folder.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char buffer[65536];
static struct sockaddr_in address;
static int listener;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void check(int failed, char op, const char *path)
{
	if (failed) {
		fprintf(stderr, "replay: %c %s: %s\n", op, path, strerror(errno));
		exit(1);
	}
}

static void pause_for(uint64_t us)
{
	struct timespec t = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

	while (nanosleep(&t, &t))
		;
}

static void use_file(char op, const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	check(fd < 0, op, path);
	if (op == 'r')
		while (read(fd, buffer, sizeof(buffer)) > 0)
			;
	else if (op != 'd')
		check(write(fd, buffer, 1000) != 1000, op, path);
	close(fd);
}

static void map_code(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *code;

	check(fd < 0, 'm', path);
	code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	check(code == MAP_FAILED, 'm', path);
	munmap(code, 4096);
	close(fd);
}

static void run(const char *path)
{
	char *args[] = { (char *)path, NULL };
	int status;
	pid_t pid = vfork();

	if (!pid) {
		execve(path, args, args + 1);
		_exit(127);
	}
	check(pid < 0 || waitpid(pid, &status, 0) != pid || status, 'x', path);
}

static void talk(void)
{
	int theirs, ours = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	check(ours < 0 || connect(ours, (struct sockaddr *)&address, sizeof(address)), 't', "-");
	theirs = accept(listener, NULL, NULL);
	check(theirs < 0, 't', "-");
	close(ours);
	close(theirs);
}

static void once(char op, const char *path, const char *other)
{
	switch (op) {
	case 'r': return use_file(op, path, O_RDONLY);
	case 'd': return use_file(op, path, O_RDONLY | O_DIRECTORY);
	case 'w': return use_file(op, path, O_WRONLY);
	case 'c': return use_file(op, path, O_WRONLY | O_CREAT | O_EXCL);
	case 'm': return map_code(path);
	case 'x': return run(path);
	case 't': return talk();
	case 'k': return check(mkdir(path, 0755), op, path);
	case 'e': return check(rmdir(path), op, path);
	case 'u': return check(unlink(path), op, path);
	case 'n': return check(rename(path, other), op, path);
	case 'l': return check(link(path, other), op, path);
	case 'a': return check(chmod(path, 0644), op, path);
	default: check(1, op, "is no operation");
	}
}

/* Nanoseconds of a processor that this process and its children had, the kernel's work for them included. */
static uint64_t worked(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < 2; i++) {
		struct rusage used;

		check(getrusage(i ? RUSAGE_CHILDREN : RUSAGE_SELF, &used), 'g', "rusage");
		sum += 1000000000ull * (used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		       1000ull * (used.ru_utime.tv_usec + used.ru_stime.tv_usec);
	}
	return sum;
}

struct took {
	uint64_t time, work;
};

/* The whole trace is read first, so that only its operations are timed. */
static struct took replay(const char *name, int paced)
{
	char line[9000], op, path[4096], other[4096];
	FILE *trace = fopen(name, "re"), *text;
	unsigned long us;
	char *kept = NULL;
	size_t size = 0;
	struct took start, end;

	check(!trace, 'f', name);
	text = open_memstream(&kept, &size);
	while (fgets(line, sizeof(line), trace))
		fputs(line, text);
	fclose(trace);
	fclose(text);
	text = fmemopen(kept, size, "r");
	start = (struct took){ now(), worked() };
	while (fgets(line, sizeof(line), text)) {
		other[0] = 0;
		if (sscanf(line, "%lu %c %4095s %4095s", &us, &op, path, other) < 3)
			continue;	/* what is there before, and comments */
		if (paced && us)
			pause_for(us);
		once(op, path, other);
	}
	end = (struct took){ now() - start.time, worked() - start.work };
	fclose(text);
	free(kept);
	return end;
}

int main(void)
{
	socklen_t size = sizeof(address);
	char line[4200], what[16], path[4096];
	int paced;

	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check(listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 16) ||
	      getsockname(listener, (struct sockaddr *)&address, &size), 't', "listener");
	while (fgets(line, sizeof(line), stdin)) {
		check(sscanf(line, "%15s %4095s %d", what, path, &paced) != 3, '?', line);
		struct took took = replay(path, paced);

		printf("%llu %llu\n", (unsigned long long)took.time, (unsigned long long)took.work);
		fflush(stdout);
	}
	return 0;
}
