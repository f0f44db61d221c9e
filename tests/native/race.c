/*
 * race WHAT TRIES ...: tries one thing again and again while the argument that names its object is rewritten by another
 * thread, or the object's name is given to another by `race swap`. Prints how often it was allowed, denied (EACCES),
 * and how often the forbidden object was reached.
 *
 *   race files open|change TRIES PATH FLIP FORBIDDEN   the byte at FLIP of PATH alternates between `a` and `b`; -1: none does
 *   race exec TRIES PATH FLIP                          a forbidden program ends with 42
 *   race argv TRIES PATH 0                             its argument alternates between `a` and `b`
 *   race sendto|sendmsg|connect TRIES PORT FORBIDDEN   on 127.0.0.1; whoever listens counts
 *   race unix TRIES PATH FLIP
 *   race swap ONE OTHER                                exchanges two names for ever
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static char path[4096], aside[4200], argument[] = "a";
static long allowed, denied, forbidden, others;
static struct stat secret;

/* What the other thread writes, and where: an address whose two values alternate. */
static struct { volatile char *byte; volatile uint16_t *port; uint16_t ports[2]; void *volatile *name; void *names[2]; } flip;

static volatile int flipping;

static void *flipper(void *unused)
{
	unsigned state = 1;

	(void)unused;
	flipping = 1;
	for (int turn = 0;; turn ^= 1) {
		if (flip.byte)
			*flip.byte = 'a' + turn;
		if (flip.port)
			*flip.port = flip.ports[turn];
		if (flip.name)
			*flip.name = flip.names[turn];
		state = state * 1103515245 + 12345;
		for (volatile unsigned i = state >> 16 & 0x1ff; i; i--)
			;
	}
	return NULL;
}

static void start_flipping(void)
{
	pthread_t thread;

	if (!flip.byte && !flip.port && !flip.name)
		return;
	pthread_create(&thread, NULL, flipper, NULL);
	while (!flipping)
		;
}

static void count(int result)
{
	if (result >= 0)
		allowed++;
	else if (errno == EACCES)
		denied++;
	else
		others++;
}

static int try_open(int try)
{
	int flags[] = { O_RDONLY, O_RDWR, O_WRONLY | O_TRUNC, O_WRONLY | O_CREAT, O_RDWR | O_APPEND, O_PATH };
	int fd = open(path, flags[try % 6], 0644);
	struct stat st;
	char text[8];

	count(fd);
	if (fd < 0)
		return fd;
	if (flags[try % 6] & O_PATH) { /* harmless by itself */
		close(fd);
		return 0;
	}
	if (fstat(fd, &st) || (st.st_dev == secret.st_dev && st.st_ino == secret.st_ino))
		forbidden++;
	if ((flags[try % 6] & O_ACCMODE) == O_RDONLY && read(fd, text, 6) == 6 && !memcmp(text, "secret", 6))
		forbidden++;
	return close(fd);
}

/* Whether a forbidden object was changed is seen afterwards, on the object; what was taken away is brought back. */
static void try_change(int try)
{
	char kept[4096];
	int result;

	switch (try % 7) {
	case 0:
		count(truncate(path, try % 100));
		break;
	case 1:
		count(chmod(path, 0600 | (try & 077)));
		break;
	case 2:
		count(setxattr(path, "user.race", "1", 1, 0));
		break;
	case 3:
		count(result = rename(path, aside));
		memcpy(kept, path, sizeof(kept));
		if (flip.byte)
			kept[flip.byte - path] = 'a';
		if (!result && rename(aside, kept))
			others++;
		break;
	case 4:
		count(result = link(path, aside));
		if (!result) {
			struct stat st;

			if (lstat(aside, &st) || (st.st_dev == secret.st_dev && st.st_ino == secret.st_ino))
				forbidden++;
			unlink(aside);
		}
		break;
	case 5:
		count(chown(path, -1, getgid()));
		break;
	case 6:
		count(utimes(path, NULL));
	}
}

static void files(const char *kind, long tries)
{
	snprintf(aside, sizeof(aside), "%s-aside-%d", getenv("RACE_ASIDE") ?: path, getpid());
	for (long try = 0; try < tries; try++)
		if (*kind == 'o')
			try_open(try);
		else
			try_change(try);
}

/* The child shares this memory, and its execve is raced by the thread; after a refusal it tries again. */
static void programs(long tries)
{
	static volatile long try;
	char *argv[] = { path, argument, NULL }, *envp[] = { NULL };
	int status;

	while (try < tries) {
		pid_t child = vfork();

		if (!child) {
			for (int i = 0; i < 50; i++) {
				try++;
				execve(path, argv, envp);
				count(-1);
			}
			_exit(99);
		}
		if (child < 0 || waitpid(child, &status, 0) < 0) {
			others++;
			try++;
		} else if (WIFEXITED(status) && WEXITSTATUS(status) == 42) {
			forbidden++;
		} else if (WIFEXITED(status) && !WEXITSTATUS(status)) {
			allowed++;
		} else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
			denied++;
		}
	}
}

static void sockets(const char *what, long tries, struct sockaddr *addr, socklen_t size)
{
	int kind = *what == 's' ? SOCK_DGRAM : SOCK_STREAM, one = socket(addr->sa_family, kind, 0);
	struct linger now = { 1, 0 };
	struct iovec text = { "text", 4 };
	static struct msghdr message;

	message = (struct msghdr){ .msg_name = addr, .msg_namelen = size, .msg_iov = &text, .msg_iovlen = 1 };

	if (!strcmp(what, "sendmsg")) {
		struct sockaddr_in *both = calloc(2, sizeof(*both));

		memcpy(&both[0], addr, sizeof(*both));
		memcpy(&both[1], addr, sizeof(*both));
		both[0].sin_port = flip.ports[0];
		both[1].sin_port = flip.ports[1];
		flip.port = NULL;
		flip.name = &message.msg_name;
		flip.names[0] = &both[0];
		flip.names[1] = &both[1];
	}
	start_flipping();
	for (long try = 0; try < tries; try++) {
		if (!strcmp(what, "sendto")) {
			count(sendto(one, "text", 4, 0, addr, size));
		} else if (!strcmp(what, "sendmsg")) {
			count(sendmsg(one, &message, 0));
		} else {
			count(connect(one, addr, size));
			setsockopt(one, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
			close(one);
			one = socket(addr->sa_family, kind, 0);
		}
	}
}

static void swap(const char *one, const char *other)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned state = 1;; state = state * 1103515245 + 12345) {
		renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
		for (volatile unsigned i = state >> 16 & 0x3ff; i; i--)
			;
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 3 ? argv[1] : "";

	if (!strcmp(what, "swap"))
		swap(argv[2], argv[3]);
	if (argc < 5)
		return 2;
	if (!strcmp(what, "sendto") || !strcmp(what, "sendmsg") || !strcmp(what, "connect")) {
		static struct sockaddr_in addr;

		addr = (struct sockaddr_in){ AF_INET, htons(atoi(argv[3])), { htonl(INADDR_LOOPBACK) }, { 0 } };

		flip.port = &addr.sin_port;
		flip.ports[0] = addr.sin_port;
		flip.ports[1] = htons(atoi(argv[4]));
		sockets(what, atol(argv[2]), (struct sockaddr *)&addr, sizeof(addr));
	} else if (!strcmp(what, "unix")) {
		static struct sockaddr_un addr = { .sun_family = AF_UNIX };

		strncpy(addr.sun_path, argv[3], sizeof(addr.sun_path) - 1);
		flip.byte = atoi(argv[4]) >= 0 ? addr.sun_path + atoi(argv[4]) : NULL;
		sockets(what, atol(argv[2]), (struct sockaddr *)&addr, sizeof(addr));
	} else {
		int files_too = !strcmp(what, "files");

		strcpy(path, argv[3 + files_too]);
		if (!strcmp(what, "argv"))
			flip.byte = argument;
		else if (atoi(argv[4 + files_too]) >= 0)
			flip.byte = path + atoi(argv[4 + files_too]);
		if (files_too && (argc != 7 || stat(argv[6], &secret)))
			return 3;
		start_flipping();
		if (files_too)
			files(argv[2], atol(argv[3]));
		else
			programs(atol(argv[2]));
	}
	printf("allowed %ld denied %ld forbidden %ld others %ld\n", allowed, denied, forbidden, others);
	return 0;
}
