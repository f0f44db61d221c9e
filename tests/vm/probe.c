/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * probe STEP... : does the steps in turn and prints a line for each: what it was, its errno, and for w: how
 * often a second thread counted meanwhile and how many milliseconds it took.
 *
 *   w:FILE r:FILE c:FILE d:FILE  open for writing, for reading, create, delete
 *   until:FILE                   wait for the file
 *   uid:N exec:PROGRAM           become another user, another program (which does the rest)
 *   connect:FILE                 connect to the socket that the file names and ask for the sessions
 *   watch                        do the rest in a child; print how often it was seen to stop or continue
 *   run                          the same, where the rest is a command
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static atomic_long counted;

static void *counter(void *unused)
{
	const struct timespec tick = { .tv_nsec = 1000000 };

	for (;;) {
		atomic_fetch_add(&counted, 1);
		nanosleep(&tick, NULL);
	}
	return unused;
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int operate(char what, const char *file)
{
	int fd;

	if (what == 'd')
		return unlink(file) ? errno : 0;
	if (what == 'r')
		fd = open(file, O_RDONLY);
	else
		fd = open(file, what == 'c' ? O_WRONLY | O_CREAT | O_EXCL : O_WRONLY, 0644);
	if (fd < 0)
		return errno;
	if (what != 'r' && write(fd, "written\n", 8) != 8)
		return EIO;
	close(fd);
	return 0;
}

static void ask(const char *named)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	static const char request[] = "{\"op\":\"sessions\"}\n";
	char answer[200] = "";
	FILE *file = fopen(named, "r");
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (!file || !fgets(address.sun_path, sizeof(address.sun_path), file))
		exit(3);
	fclose(file);
	address.sun_path[strcspn(address.sun_path, "\n")] = 0;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		printf("connect %d\n", errno);
	} else {
		if (write(fd, request, strlen(request)) < 0 || read(fd, answer, sizeof(answer) - 1) < 0)
			strcpy(answer, strerror(errno));
		printf("connect 0 %s\n", answer);
	}
	close(fd);
}

/* Returns in the child; the parent sees to it. */
static void watch(void)
{
	pid_t child = fork();
	int status, stops = 0;

	if (!child)
		return;
	while (waitpid(child, &status, WUNTRACED | WCONTINUED) == child) {
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			printf("stops %d status %d\n", stops, status);
			exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
		}
		stops++;
	}
	exit(4);
}

int main(int argc, char **argv)
{
	pthread_t thread;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		char *step = argv[i], *operand = strchr(step, ':');
		struct stat unused;

		operand = operand ? operand + 1 : "";
		if (!strcmp(step, "watch")) {
			watch();
		} else if (!strcmp(step, "run")) {
			watch();
			execvp(argv[i + 1], argv + i + 1);
			return 127;
		} else if (!strncmp(step, "until:", 6)) {
			while (stat(operand, &unused))
				usleep(20000);
		} else if (!strncmp(step, "uid:", 4)) {
			printf("uid %d\n", setresuid(atoi(operand), atoi(operand), atoi(operand)) ? errno : 0);
		} else if (!strncmp(step, "exec:", 5)) {
			argv[i] = operand;
			execv(operand, argv + i);
			printf("exec %d\n", errno);
		} else if (!strncmp(step, "connect:", 8)) {
			ask(operand);
		} else {
			long start = now_ms(), before;
			int error;

			if (!counted && pthread_create(&thread, NULL, counter, NULL))
				return 5;
			while (!counted)
				usleep(1000);
			before = counted;
			error = operate(step[0], operand);
			printf("%c %d %ld %ld\n", step[0], error, counted - before, now_ms() - start);
		}
	}
	return 0;
}
