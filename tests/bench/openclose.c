/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Does operations and times them. Reads lines from standard input and answers each with one line of
 * nanoseconds: so that one process under authz and one beside it can take turns.
 *   open PATH N       N times open and close; nanoseconds of all, and of the processor's that it and its children had
 *   create PATH N     N times create, close, unlink
 *   exec PATH N       N times vfork, execve, wait
 *   fork PATH N       N times fork, execve, wait
 *   stat PATH N       N times fstatat
 *   getppid - N       N times getppid
 *   connect - N       N times socket, connect to 127.0.0.1, accept, close both
 *   first DIR N       opens and closes DIR/f0 to DIR/f<N-1>; nanoseconds of each
 *   spread DIR N      opens and closes DIR/d0/f to DIR/d<N-1>/f; nanoseconds of each
 *   landlock DIR N    restricts this process: may do everything below DIR, and read N files of it
 *   confine DIR N     restricts it more: files and programs below N folders DIR/d0 to DIR/d<N-1> only, N ports
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Of Landlock's fourth version, which older headers do not have. */
#define CONNECT_TCP 2ull
#define NET_PORT 2

struct restricted {
	uint64_t files, net;
};

struct net_port {
	uint64_t allowed, port;
};

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Of the processor, by this process and the children it has waited for. */
static uint64_t own(void)
{
	struct timespec t;
	struct rusage of;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	getrusage(RUSAGE_CHILDREN, &of);
	return t.tv_sec * 1000000000ull + t.tv_nsec +
	       (of.ru_utime.tv_sec + of.ru_stime.tv_sec) * 1000000000ull +
	       (of.ru_utime.tv_usec + of.ru_stime.tv_usec) * 1000ull;
}

static int die(const char *what)
{
	fprintf(stderr, "openclose: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void open_once(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	close(fd);
}

static void stat_once(const char *path)
{
	struct stat stat;

	if (fstatat(AT_FDCWD, path, &stat, 0))
		die(path);
}

static void create_once(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		die(path);
	close(fd);
	if (unlink(path))
		die(path);
}

static void exec_once(const char *path, bool copied)
{
	char *args[] = { (char *)path, NULL }, *none[] = { NULL };
	int status;
	pid_t pid = copied ? fork() : vfork();

	if (pid < 0)
		die("fork");
	if (!pid) {
		execve(path, args, none);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		die("exec");
}

static void connect_once(int listener, struct sockaddr_in *address)
{
	struct linger at_once = { .l_onoff = 1 };
	int theirs, ours = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (ours < 0 || connect(ours, (struct sockaddr *)address, sizeof(*address)))
		die("connect");
	theirs = accept(listener, NULL, NULL);
	if (theirs < 0)
		die("accept");
	setsockopt(ours, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(ours);
	close(theirs);
}

static int listen_somewhere(struct sockaddr_in *address)
{
	socklen_t size = sizeof(*address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (listener < 0 || bind(listener, (struct sockaddr *)address, size) || listen(listener, 16) ||
	    getsockname(listener, (struct sockaddr *)address, &size))
		die("listen");
	return listener;
}

static void rule(int set, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr beneath = { .allowed_access = access };

	beneath.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (beneath.parent_fd < 0 || syscall(SYS_landlock_add_rule, set, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0))
		die(path);
	close(beneath.parent_fd);
}

static void port(int set, uint64_t number)
{
	struct net_port attr = { .allowed = CONNECT_TCP, .port = number };

	if (syscall(SYS_landlock_add_rule, set, NET_PORT, &attr, 0))
		die("landlock: port");
}

/* `listening`: the port that stays, where connecting is restricted too; 0: it is not. */
static void restrict_self(const char *dir, const char *name, long n, uint64_t access, uint64_t listening)
{
	struct restricted attr = { .files = access, .net = listening ? CONNECT_TCP : 0 };
	size_t size = listening ? sizeof(attr) : sizeof(attr.files);
	char path[4096];
	int set;

	set = syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	if (set < 0)
		die("landlock");
	for (long i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s%ld", dir, name, i);
		rule(set, path, access);
		if (listening)
			port(set, i ? (uint64_t)i : listening);
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_landlock_restrict_self, set, 0))
		die("landlock");
	close(set);
}

int main(void)
{
	struct sockaddr_in address = { 0 };
	int listener = listen_somewhere(&address);
	char line[4200], what[16], path[4096];
	uint64_t start, before, *each;
	long n;

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%15s %4095s %ld", what, path, &n) != 3)
			die("a line is not understood");
		if (!strcmp(what, "landlock")) {
			restrict_self(path, "f", n, LANDLOCK_ACCESS_FS_READ_FILE, 0);
			printf("0\n");
		} else if (!strcmp(what, "confine")) {
			restrict_self(path, "d", n, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
				      LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE |
				      LANDLOCK_ACCESS_FS_EXECUTE, ntohs(address.sin_port));
			printf("0\n");
		} else if (!strcmp(what, "first") || !strcmp(what, "spread")) {
			each = calloc(n, sizeof(*each));
			for (long i = 0; i < n; i++) {
				snprintf(line, sizeof(line), *what == 'f' ? "%s/f%ld" : "%s/d%ld/f", path, i);
				start = now();
				open_once(line);
				each[i] = now() - start;
			}
			for (long i = 0; i < n; i++)
				printf("%llu ", (unsigned long long)each[i]);
			printf("\n");
			free(each);
		} else {
			before = own();
			start = now();
			for (long i = 0; i < n; i++) {
				if (!strcmp(what, "open"))
					open_once(path);
				else if (!strcmp(what, "create"))
					create_once(path);
				else if (!strcmp(what, "exec"))
					exec_once(path, false);
				else if (!strcmp(what, "fork"))
					exec_once(path, true);
				else if (!strcmp(what, "stat"))
					stat_once(path);
				else if (!strcmp(what, "getppid"))
					syscall(SYS_getppid);
				else
					connect_once(listener, &address);
			}
			start = now() - start;
			printf("%llu %llu\n", (unsigned long long)start, (unsigned long long)(own() - before));
		}
		fflush(stdout);
	}
	return 0;
}
