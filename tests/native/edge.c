/*
 * edge WHAT ...: programs that are unlike others. Each prints one line for each thing it did: `ok` or the errno's name.
 *
 *   open FILE...            opens each
 *   threads COUNT FILE      COUNT threads open it 2,000 times each
 *   chain DEPTH FILE...     each process has one child; the last one opens
 *   storm COUNT FILE        COUNT processes at once
 *   spawn PROGRAM           by posix_spawn and by vfork
 *   chroot FOLDER FILE...   opens after chroot
 *   filter FILE...          opens under a seccomp filter of its own, which also refuses getppid
 *   undumpable FILE...      opens when others of the same user may not look at it
 *   listener                a seccomp filter with a listener of its own
 *   sizes                   how many arguments and variables, and their bytes
 *   big COUNT BYTES ENV PROGRAM  executes PROGRAM sizes with COUNT arguments of BYTES and ENV variables
 *   pointers                calls with pointers that lead nowhere
 *   dies FILE               ends while a thread of it opens
 *   storm-of-deaths N FILE  N processes are killed while they open again and again
 *   bomb COUNT FILE DENIED  forks COUNT more processes than there are, or until it cannot; each opens both
 *   many COUNT FOLDER       makes COUNT files: how many it could, was denied, and could not for another reason
 *   again COUNT PROGRAM COPY  writes PROGRAM to COPY, closes and executes it, then locks, closes and locks it again:
 *                           how often it was busy, how often locked
 *   stream                  sends 3 MiB at once over a stream socket: as many as were sent, as many as came
 *   named PATH              binds a Unix socket: its name
 *   alarm FILE MS           opens, while a signal arrives after MS that does not restart calls: errno, signals seen
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *opened(const char *file)
{
	int fd = open(file, O_RDONLY);

	if (fd < 0)
		return strerrorname_np(errno);
	close(fd);
	return "ok";
}

static int each(char **file)
{
	for (; *file; file++)
		puts(opened(*file));
	return 0;
}

static void *opens(void *file)
{
	long failed = 0;

	for (int i = 0; i < 2000; i++)
		failed += strcmp(opened(file), "ok") != 0;
	return (void *)failed;
}

static int threads(int count, char *file)
{
	pthread_t thread[64];
	long failed = 0;

	for (int i = 0; i < count; i++)
		pthread_create(&thread[i], NULL, opens, file);
	for (int i = 0; i < count; i++) {
		void *one;

		pthread_join(thread[i], &one);
		failed += (long)one;
	}
	printf("%ld failed\n", failed);
	return 0;
}

static int chain(int depth, char **file)
{
	int status;

	if (!depth)
		return each(file);
	fflush(stdout);
	pid_t child = fork();
	if (!child)
		exit(chain(depth - 1, file));
	return child < 0 || waitpid(child, &status, 0) < 0 || status;
}

static int storm(int count, char *file)
{
	int failed = 0, status;

	for (int i = 0; i < count; i++) {
		pid_t child = fork();

		if (!child)
			_exit(strcmp(opened(file), "ok") != 0);
		failed += child < 0;
	}
	while (wait(&status) > 0)
		failed += status != 0;
	printf("%d failed\n", failed);
	return 0;
}

static int spawn(char *program)
{
	char *argv[] = { program, NULL };
	int status, error;
	pid_t child;

	error = posix_spawn(&child, program, NULL, NULL, argv, environ);
	if (!error)
		waitpid(child, &status, 0);
	puts(error ? strerrorname_np(error) : status ? "failed" : "ok");
	fflush(stdout);
	child = vfork();
	if (!child) {
		execve(program, argv, environ);
		_exit(errno);
	}
	waitpid(child, &status, 0);
	puts(WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "ok");
	return 0;
}

/* Refuses getppid, or asks a listener about it. */
static long filter(unsigned flags, unsigned action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(*code), code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static int sizes(char **argv)
{
	size_t bytes = 0, variables = 0, count = 0;

	for (; *argv; argv++, count++)
		bytes += strlen(*argv);
	for (char **one = environ; *one; one++, variables++)
		bytes += strlen(*one);
	printf("%zu arguments, %zu variables, %zu bytes\n", count, variables, bytes);
	return 0;
}

static int big(int count, int size, int variables, char *program)
{
	char **argv = calloc(count + 3, sizeof(*argv)), **env = calloc(variables + 1, sizeof(*env));

	argv[0] = program;
	argv[1] = "sizes";
	for (int i = 0; i < count; i++) {
		argv[i + 2] = calloc(1, size + 1);
		memset(argv[i + 2], 'x', size);
	}
	for (int i = 0; i < variables; i++)
		if (asprintf(&env[i], "%x=", i) < 0)
			return 3;
	execve(program, argv, env);
	puts(strerrorname_np(errno));
	return 0;
}

static volatile int signals;

static void seen(int number)
{
	(void)number;
	signals++;
}

static int alarmed(char *file, int ms)
{
	struct sigaction action = { .sa_handler = seen };
	struct itimerval after = { { 0, 0 }, { ms / 1000, ms % 1000 * 1000 } };
	const char *result;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &after, NULL);
	result = opened(file);
	printf("%s %d\n", result, signals);
	return 0;
}

static void say(long result)
{
	puts(result < 0 ? strerrorname_np(errno) : "ok");
}

/* One beyond the address space, and one whose string or structure goes on in a page that is not there. */
static int pointers(void)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int udp = socket(AF_INET, SOCK_DGRAM, 0);

	memset(page, 'x', 4096);
	munmap(page + 4096, 4096);
	for (char *bad = (char *)8;; bad = page + 4090) {
		say(open(bad, O_RDONLY));
		say(syscall(SYS_openat2, AT_FDCWD, "/", bad, 24));
		say(mkdir(bad, 0700));
		say(rename("/nowhere", bad));
		say(chmod(bad, 0));
		say(syscall(SYS_utimensat, AT_FDCWD, "/", bad, 0));
		say(execv(bad, (char *[]){ "x", NULL }));
		say(execv("/bin/true", (char **)bad));
		say(connect(udp, (void *)bad, 16));
		say(sendto(udp, bad, 100, 0, (void *)bad, 16));
		say(sendmsg(udp, (void *)bad, 0));
		if (bad != (char *)8)
			return 0;
	}
}

static int dies(char *file)
{
	pthread_t thread;

	pthread_create(&thread, NULL, opens, file);
	usleep(300000);
	return 0;
}

static int deaths(int count, char *file)
{
	for (int i = 0; i < count; i++) {
		pid_t child = fork();

		if (!child)
			for (;;)
				opened(i & 1 ? file : "/etc/hosts");
		usleep(500 + i % 7 * 300);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	puts("ok");
	return 0;
}

/* Every process makes two more, as long as there is room. */
static int bomb(long room, char *file, char *forbidden)
{
	static struct { volatile long first, opened, forbidden, forks, full; } *seen;
	struct rlimit limit = { room, room };

	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	seen->first = getpid();
	setrlimit(RLIMIT_NPROC, &limit);
	for (int round = 0; round < 2; round++) {
		pid_t child = fork();

		if (child < 0)
			__atomic_add_fetch(&seen->full, 1, __ATOMIC_SEQ_CST);
		if (!child && __atomic_add_fetch(&seen->forks, 1, __ATOMIC_SEQ_CST) < room)
			round = -1;
	}
	if (!strcmp(opened(file), "ok"))
		__atomic_add_fetch(&seen->opened, 1, __ATOMIC_SEQ_CST);
	if (!strcmp(opened(forbidden), "ok"))
		__atomic_add_fetch(&seen->forbidden, 1, __ATOMIC_SEQ_CST);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	if (seen->first == getpid())
		printf("opened %ld forbidden %ld forks %ld full %ld\n", seen->opened, seen->forbidden, seen->forks, seen->full);
	return 0;
}

static int many(long count, char *folder)
{
	long ok = 0, denied = 0, others = 0;
	char name[4096];

	for (long i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s/%ld", folder, i);
		int fd = open(name, O_WRONLY | O_CREAT, 0600);

		ok += fd >= 0;
		denied += fd < 0 && errno == EACCES;
		others += fd < 0 && errno != EACCES;
		if (fd >= 0)
			close(fd);
	}
	printf("ok %ld denied %ld others %ld\n", ok, denied, others);
	return 0;
}

/* Whoever else still has the file open would be in the way. */
static int again(long count, const char *program, const char *copy)
{
	static char bytes[4 << 20];
	long busy = 0, locked = 0;
	int from = open(program, O_RDONLY);
	ssize_t size = read(from, bytes, sizeof(bytes));

	for (long i = 0; i < count; i++) {
		unlink(copy);
		int fd = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

		if (fd < 0 || write(fd, bytes, size) != size)
			return 1;
		close(fd);
		pid_t child = vfork();
		int status;

		if (!child) {
			execl(copy, copy, "open", NULL);
			_exit(errno);
		}
		waitpid(child, &status, 0);
		busy += status != 0;
		fd = open(copy, O_RDONLY);
		flock(fd, LOCK_EX);
		close(fd);
		fd = open(copy, O_RDONLY);
		locked += flock(fd, LOCK_EX | LOCK_NB) != 0;
		close(fd);
	}
	printf("%ld busy, %ld locked\n", busy, locked);
	return 0;
}

static int stream(void)
{
	static char bytes[3 << 20];
	struct iovec data = { bytes, sizeof(bytes) };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return 1;
	if (!fork()) {
		long came = 0, more;

		close(pair[0]);
		while ((more = read(pair[1], bytes, sizeof(bytes))) > 0)
			came += more;
		printf("%ld came\n", came);
		return 0;
	}
	close(pair[1]);
	long sent = sendmsg(pair[0], &message, 0);

	close(pair[0]);
	wait(NULL);
	printf("%ld sent\n", sent);
	return 0;
}

static int named(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX }, name = { 0 };
	socklen_t size = sizeof(name);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || getsockname(fd, (struct sockaddr *)&name, &size))
		return 1;
	printf("%u %s\n", size, name.sun_path);
	/* Cut off where there is less room. */
	size = 5;
	memset(&name, 0, sizeof(name));
	if (getsockname(fd, (struct sockaddr *)&name, &size))
		return 1;
	printf("%u %s\n", size, name.sun_path);
	return unlink(path);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "open"))
		return each(argv + 2);
	if (!strcmp(what, "threads"))
		return threads(atoi(argv[2]), argv[3]);
	if (!strcmp(what, "chain"))
		return chain(atoi(argv[2]), argv + 3);
	if (!strcmp(what, "storm"))
		return storm(atoi(argv[2]), argv[3]);
	if (!strcmp(what, "spawn"))
		return spawn(argv[2]);
	if (!strcmp(what, "chroot")) {
		puts(chroot(argv[2]) ? strerrorname_np(errno) : "ok");
		return each(argv + 3);
	}
	if (!strcmp(what, "filter")) {
		puts(filter(0, SECCOMP_RET_ERRNO | EXDEV) ? strerrorname_np(errno) : "ok");
		puts(syscall(SYS_getppid) < 0 ? strerrorname_np(errno) : "ok");
		return each(argv + 2);
	}
	if (!strcmp(what, "undumpable")) {
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		return each(argv + 2);
	}
	if (!strcmp(what, "listener")) {
		puts(filter(SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_RET_USER_NOTIF) < 0 ? strerrorname_np(errno) : "ok");
		return 0;
	}
	if (!strcmp(what, "sizes"))
		return sizes(argv + 2);
	if (!strcmp(what, "big"))
		return big(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), argv[5]);
	if (!strcmp(what, "pointers"))
		return pointers();
	if (!strcmp(what, "dies"))
		return dies(argv[2]);
	if (!strcmp(what, "storm-of-deaths"))
		return deaths(atoi(argv[2]), argv[3]);
	if (!strcmp(what, "bomb"))
		return bomb(atol(argv[2]), argv[3], argv[4]);
	if (!strcmp(what, "many"))
		return many(atol(argv[2]), argv[3]);
	if (!strcmp(what, "again"))
		return again(atol(argv[2]), argv[3], argv[4]);
	if (!strcmp(what, "stream"))
		return stream();
	if (!strcmp(what, "named"))
		return named(argv[2]);
	if (!strcmp(what, "alarm"))
		return alarmed(argv[2], atoi(argv[3]));
	return 2;
}
