/*
 * fsops SCRIPT: does the file-system operations of SCRIPT, one a line, by raw system calls, and prints what each gave:
 * the line's number, the value or errno, and what can be seen of the object. Every batch is a process of its own.
 *
 *   batch FOLDER            what follows happens in FOLDER
 *   openat s1 cwd a/b 0x42 0644
 *
 * An argument is a number; a path, with %XX for bytes; a descriptor: `cwd`, `s0` to `s9` (slots), `none`, a number.
 * A path may be `@null`, `@bad`, `@open` (no end before an unmapped page) or `@last:PATH` (ends at such a page).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#define PAGE 4096
#define RESULTS 250
#define WORDS 10
#define SLOTS 10
#define PATH_ROOM 16384

static char *word[WORDS];
static char room[WORDS][PATH_ROOM];
static int slot[SLOTS];
static dev_t home, proc;
static char *page;
static FILE *out;

/* Words beyond the line are empty; a number is decimal, octal or hexadecimal. */
static long num(int i) { return word[i] ? strtol(word[i], NULL, 0) : 0; }

static void decode(const char *from, char *to)
{
	unsigned byte;

	for (; *from && to; from++) {
		if (*from == '%' && sscanf(from + 1, "%2x", &byte) == 1) {
			*to++ = byte;
			from += 2;
		} else {
			*to++ = *from;
		}
	}
	*to = 0;
}

static char *path(int i)
{
	const char *text = word[i] ? word[i] : "";

	if (!strcmp(text, "@null"))
		return NULL;
	if (!strcmp(text, "@bad"))
		return (char *)16;
	if (!strcmp(text, "@open"))
		return memset(page + PAGE - 20, 'a', 20);
	if (!strncmp(text, "@last:", 6)) {
		decode(text + 6, room[i]);
		size_t size = strlen(room[i]) + 1;
		return size > PAGE ? room[i] : memcpy(page + PAGE - size, room[i], size);
	}
	decode(strcmp(text, "@empty") ? text : "", room[i]);
	return room[i];
}

static int *slot_of(int i) { return &slot[word[i][1] - '0']; }

static int fd(int i)
{
	if (!strcmp(word[i], "cwd"))
		return AT_FDCWD;
	if (!strcmp(word[i], "none"))
		return -1;
	return word[i][0] == 's' ? *slot_of(i) : (int)num(i);
}

static void encoded(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		fprintf(out, text[i] > ' ' && text[i] < 127 && text[i] != '%' ? "%c" : "%%%02X", (unsigned char)text[i]);
}

static void show_stat(const struct stat *st)
{
	fprintf(out, " mode=%o", st->st_mode);
	if (st->st_dev != proc) /* where each look puts the owner right again */
		fprintf(out, " uid=%u gid=%u", st->st_uid, st->st_gid);
	if (st->st_dev == home) /* elsewhere, links and sizes depend on other processes */
		fprintf(out, " nlink=%lu size=%lu", st->st_nlink, S_ISDIR(st->st_mode) ? 0 : st->st_size);
	if (S_ISCHR(st->st_mode))
		fprintf(out, " rdev=%lx", st->st_rdev);
	if (st->st_dev == home && st->st_mtime < 1000000000) /* set by utimensat, not now */
		fprintf(out, " mtime=%ld.%09ld", st->st_mtime, st->st_mtim.tv_nsec);
}

static void show_fd(int number)
{
	char link[64], name[8192];
	struct stat st;
	ssize_t size;

	/* O_NOFOLLOW does nothing once a file is open, and a supervisor opens by descriptor, which is a link. */
	fprintf(out, " getfd=%x getfl=%x at=%ld", fcntl(number, F_GETFD), fcntl(number, F_GETFL) & ~O_NOFOLLOW,
		lseek(number, 0, SEEK_CUR));
	if (!fstat(number, &st))
		show_stat(&st);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", number);
	size = readlink(link, name, sizeof(name));
	fprintf(out, " name=");
	encoded(name, size > 0 ? size : 0);
}

/* A descriptor moves into the slot, whose old one is closed after the call, so that numbers stay comparable. */
static long keep(long number, int i)
{
	int *place = slot_of(i);

	if (number < 0)
		return number;
	if (*place >= 0)
		close(*place);
	*place = number;
	return number;
}

static long keep_open(long number, int i)
{
	if (keep(number, i) >= 0)
		show_fd(number);
	return number;
}

/* Would the open wait for the other end of a pipe? Such an operation is left out. */
static int waits(int dir, const char *name, long flags)
{
	struct stat st;

	if (flags & (O_NONBLOCK | O_PATH) || (flags & O_ACCMODE) == O_RDWR)
		return 0;
	return !syscall(SYS_newfstatat, dir, name, &st, 0) && S_ISFIFO(st.st_mode);
}

static long opened(int dir, int at, long flags, long mode, int number)
{
	const char *name = path(at);

	if (waits(dir, name, flags)) {
		fprintf(out, " would wait");
		return 0;
	}
	return keep_open(number == SYS_open ? syscall(SYS_open, name, flags, mode) :
			 number == SYS_creat ? syscall(SYS_creat, name, mode) :
					       syscall(SYS_openat, dir, name, flags, mode), 1);
}

static long opened2(void)
{
	struct { uint64_t flags, mode, resolve, more; } how = { num(4), num(5), num(6), num(8) };
	const char *name = path(3);
	long number, tries = 10000;

	/* A rename or mount anywhere on the machine: the kernel asks for another try, and has done nothing. */
	do
		number = syscall(SYS_openat2, fd(2), name, &how, num(7));
	while (number < 0 && errno == EAGAIN && how.resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT) && --tries);
	return keep_open(number, 1);
}

static struct timespec moment(int i)
{
	if (!strcmp(word[i], "now") || !strcmp(word[i], "omit"))
		return (struct timespec){ 0, word[i][0] == 'n' ? UTIME_NOW : UTIME_OMIT };
	return (struct timespec){ num(i), num(i) % 1000 };
}

static long times(void)
{
	struct timespec both[2] = { moment(4), moment(5) };

	return syscall(SYS_utimensat, fd(1), path(2), strcmp(word[4], "null") ? both : NULL, num(3));
}

/* The length is that of the path and its end, plus what the script says. */
static socklen_t address(struct sockaddr_un *addr, int i, int more)
{
	const char *name = path(i);
	size_t size = strnlen(name, sizeof(addr->sun_path));

	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(addr->sun_path, name, size);
	return offsetof(struct sockaddr_un, sun_path) + size + 1 + more;
}

static void show_name(int number)
{
	struct sockaddr_un addr;
	socklen_t size = sizeof(addr);

	memset(&addr, 0, sizeof(addr));
	if (!getsockname(number, (struct sockaddr *)&addr, &size)) {
		fprintf(out, " size=%u name=", size);
		encoded(addr.sun_path, strnlen(addr.sun_path, sizeof(addr.sun_path)));
	}
}

/* bind|connect|send SLOT KIND PATH MORE */
static long sockets(const char *op)
{
	struct sockaddr_un addr;
	socklen_t size = address(&addr, 3, num(4));
	int number = socket(AF_UNIX, num(2) | SOCK_NONBLOCK, 0);
	long result = *op == 'b' ? bind(number, (struct sockaddr *)&addr, size) :
		      *op == 'c' ? connect(number, (struct sockaddr *)&addr, size) :
				   sendto(number, "text", 4, MSG_NOSIGNAL, (struct sockaddr *)&addr, size);
	int error = errno;

	if (result < 0) {
		close(number);
		errno = error;
		return result;
	}
	if (*op == 'b' && num(2) == SOCK_STREAM)
		listen(number, 3);
	show_name(number);
	keep(number, 1);
	return result;
}

static long contents(int number)
{
	struct pollfd ready = { number, POLLIN, 0 };
	char text[33];
	struct stat st;

	if (!fstat(number, &st) && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) && poll(&ready, 1, 0) < 1)
		return 0;
	ssize_t size = read(number, text, sizeof(text) - 1);
	if (size > 0) {
		text[size] = 0;
		fputc(' ', out);
		encoded(text, strcspn(text, "\n"));
	}
	return size;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static long listing(int number)
{
	static char names[65536], *sorted[1024];
	int count = 0;
	struct stat st;
	long size, result = lseek(number, 0, SEEK_SET);

	size = syscall(SYS_getdents64, number, names, sizeof(names));
	if (size < 0 || fstat(number, &st) || st.st_dev != home)
		return size < 0 ? size : result;
	for (long at = 0; at < size && count < 1024; at += ((struct dirent64 *)(names + at))->d_reclen)
		sorted[count++] = ((struct dirent64 *)(names + at))->d_name;
	qsort(sorted, count, sizeof(*sorted), by_text);
	for (int i = 0; i < count; i++) {
		fputc(' ', out);
		encoded(sorted[i], strlen(sorted[i]));
	}
	return count;
}

static long status(int dir, const char *name, int flags)
{
	struct stat st;
	long result = syscall(SYS_newfstatat, dir, name, &st, flags);

	if (!result)
		show_stat(&st);
	return result;
}

static long text_of(long size, const char *text)
{
	if (size > 0) {
		fputc(' ', out);
		encoded(text, size);
	}
	return size;
}

#define OP(name, call) \
	if (!strcmp(word[0], name)) \
		return call;

static long operate(void)
{
	static char text[65536];

	OP("open", opened(AT_FDCWD, 2, num(3), num(4), SYS_open))
	OP("creat", opened(AT_FDCWD, 2, O_WRONLY, num(3), SYS_creat))
	OP("openat", opened(fd(2), 3, num(4), num(5), SYS_openat))
	OP("openat2", opened2())
	OP("close", close(fd(1)) + (*slot_of(1) = -1) + 1)
	OP("dup", keep_open(fcntl(fd(2), F_DUPFD, 0), 1))
	OP("mkdir", syscall(SYS_mkdir, path(1), num(2)))
	OP("mkdirat", syscall(SYS_mkdirat, fd(1), path(2), num(3)))
	OP("rmdir", syscall(SYS_rmdir, path(1)))
	OP("unlink", syscall(SYS_unlink, path(1)))
	OP("unlinkat", syscall(SYS_unlinkat, fd(1), path(2), num(3)))
	OP("rename", syscall(SYS_rename, path(1), path(2)))
	OP("renameat", syscall(SYS_renameat, fd(1), path(2), fd(3), path(4)))
	OP("renameat2", syscall(SYS_renameat2, fd(1), path(2), fd(3), path(4), num(5)))
	OP("link", syscall(SYS_link, path(1), path(2)))
	OP("linkat", syscall(SYS_linkat, fd(1), path(2), fd(3), path(4), num(5)))
	OP("symlink", syscall(SYS_symlink, path(1), path(2)))
	OP("symlinkat", syscall(SYS_symlinkat, path(1), fd(2), path(3)))
	OP("mknod", syscall(SYS_mknod, path(1), num(2), num(3)))
	OP("mknodat", syscall(SYS_mknodat, fd(1), path(2), num(3), num(4)))
	OP("chmod", syscall(SYS_chmod, path(1), num(2)))
	OP("fchmod", syscall(SYS_fchmod, fd(1), num(2)))
	OP("fchmodat", syscall(SYS_fchmodat, fd(1), path(2), num(3)))
	OP("fchmodat2", syscall(SYS_fchmodat2, fd(1), path(2), num(3), num(4)))
	OP("chown", syscall(SYS_chown, path(1), num(2), num(3)))
	OP("lchown", syscall(SYS_lchown, path(1), num(2), num(3)))
	OP("fchown", syscall(SYS_fchown, fd(1), num(2), num(3)))
	OP("fchownat", syscall(SYS_fchownat, fd(1), path(2), num(3), num(4), num(5)))
	OP("truncate", syscall(SYS_truncate, path(1), num(2)))
	OP("ftruncate", syscall(SYS_ftruncate, fd(1), num(2)))
	OP("utimensat", times())
	OP("setxattr", syscall(SYS_setxattr, path(1), path(2), path(3), strlen(path(3)), num(4)))
	OP("lsetxattr", syscall(SYS_lsetxattr, path(1), path(2), path(3), strlen(path(3)), num(4)))
	OP("fsetxattr", syscall(SYS_fsetxattr, fd(1), path(2), path(3), strlen(path(3)), num(4)))
	OP("removexattr", syscall(SYS_removexattr, path(1), path(2)))
	OP("lremovexattr", syscall(SYS_lremovexattr, path(1), path(2)))
	OP("fremovexattr", syscall(SYS_fremovexattr, fd(1), path(2)))
	OP("getxattr", text_of(syscall(SYS_getxattr, path(1), path(2), text, sizeof(text)), text))
	OP("bind", sockets("b"))
	OP("connect", sockets("c"))
	OP("send", sockets("s"))
	OP("umask", syscall(SYS_umask, num(1)))
	OP("chdir", syscall(SYS_chdir, path(1)))
	OP("fchdir", syscall(SYS_fchdir, fd(1)))
	OP("chroot", syscall(SYS_chroot, path(1)))
	OP("getcwd", text_of(syscall(SYS_getcwd, text, sizeof(text)), text))
	OP("stat", status(fd(1), path(2), num(3)))
	OP("access", syscall(SYS_access, path(1), num(2)))
	OP("readlink", text_of(syscall(SYS_readlinkat, fd(1), path(2), text, sizeof(text)), text))
	OP("read", contents(fd(1)))
	OP("write", write(fd(1), "some text", num(2)))
	OP("list", listing(fd(1)))
	fprintf(out, " no such operation\n");
	exit(2);
}

static void perform(int number, char *line)
{
	char *state;
	long result;
	int error;

	memset(word, 0, sizeof(word));
	for (int i = 0; i < WORDS && (word[i] = strtok_r(i ? NULL : line, " ", &state)); i++)
		;
	fprintf(out, "%d %s", number, word[0]);
	result = operate();
	error = errno;
	if (result < 0)
		fprintf(out, " = %s\n", strerrorname_np(error));
	else
		fprintf(out, " = %ld\n", result);
	fflush(out);
}

/* Does the lines up to the next batch, in a process of its own. */
static void batch(const char *folder, char **line, int number, int end)
{
	struct stat st;
	int status;
	pid_t child = fork();

	if (child) {
		waitpid(child, &status, 0);
		if (status)
			fprintf(out, "batch %s ended with %x\n", folder, status);
		fflush(out);
		return;
	}
	alarm(120);
	if (chdir(folder) || stat(".", &st))
		exit(3);
	home = st.st_dev;
	proc = stat("/proc", &st) ? 0 : st.st_dev;
	umask(022);
	memset(slot, -1, sizeof(slot));
	for (; number < end; number++)
		perform(number, line[number]);
	exit(0);
}

/* The lines of the file; ends with NULL. */
static char **lines_of(const char *name, int *count)
{
	char **line = NULL, *text = NULL, *state;
	FILE *file = fopen(name, "r");
	size_t size = 0;

	if (!file || getdelim(&text, &size, 0, file) < 0)
		exit(2);
	fclose(file);
	for (char *one = strtok_r(text, "\n", &state); one; one = strtok_r(NULL, "\n", &state)) {
		if (*count % 1024 == 0)
			line = realloc(line, (*count + 1024) * sizeof(*line));
		line[(*count)++] = one;
	}
	return line;
}

int main(int argc, char **argv)
{
	int count = 0, next;
	char **line;

	if (argc != 2)
		return 2;
	line = lines_of(argv[1], &count);
	/* The results go where no descriptor of the script is; 0 to 2 are the same for every run. */
	out = fdopen(dup2(1, RESULTS), "w");
	for (int i = 0; i < 3; i++)
		dup2(open("/dev/null", O_RDWR), i);
	close_range(3, RESULTS - 1, 0);
	page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(page + PAGE, PAGE);
	for (int at = 0; at < count; at = next) {
		for (next = at + 1; next < count && strncmp(line[next], "batch ", 6); next++)
			;
		batch(line[at] + 6, line, at + 1, next);
	}
	return 0;
}
