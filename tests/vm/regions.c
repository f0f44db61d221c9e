/*
 * For each line `LIST OUT` of standard input: does what each line of LIST says, writes to OUT the errno of each (8 bits),
 * and prints how many there were.
 * r, w, c, d, s: open to read, to write, make, remove, change the mode of a file; m: rename one to the other;
 * u: connect to a socket at a path; t, e: connect to an address and a port by TCP, UDP. What a name is in is
 * separated by tabs.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int result(int fd)
{
	int error = fd < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	return error;
}

static int connected(int type, const void *address, socklen_t size)
{
	int family = ((const struct sockaddr *)address)->sa_family;
	int fd = socket(family, type | SOCK_NONBLOCK, 0);
	int error;

	if (fd < 0)
		return 255;
	error = connect(fd, address, size) ? errno : 0;
	close(fd);
	return error;
}

static int to_path(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	strncpy(un.sun_path, path, sizeof(un.sun_path) - 1);
	return connected(SOCK_DGRAM, &un, sizeof(un));
}

static int to_address(int type, const char *ip, const char *port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(port)) };

	if (inet_pton(AF_INET, ip, &v4.sin_addr) == 1)
		return connected(type, &v4, sizeof(v4));
	if (inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1)
		return connected(type, &v6, sizeof(v6));
	return 255;
}

static int operate(char what, const char *one, const char *other)
{
	switch (what) {
	case 'r':
		return result(open(one, O_RDONLY));
	case 'w':
		return result(open(one, O_WRONLY));
	case 'c':
		return mknod(one, S_IFREG | 0644, 0) ? errno : 0;
	case 'd':
		return unlink(one) ? errno : 0;
	case 's':
		return chmod(one, 0755) ? errno : 0;
	case 'm':
		return rename(one, other) ? errno : 0;
	case 'u':
		return to_path(one);
	case 't':
		return to_address(SOCK_STREAM, one, other);
	case 'e':
		return to_address(SOCK_DGRAM, one, other);
	}
	return 255;
}

static size_t all(const char *list, const char *out)
{
	static char line[16384], done[1 << 16];
	size_t count = 0;
	FILE *file = fopen(list, "r");

	if (!file)
		return 0;
	while (count < sizeof(done) && fgets(line, sizeof(line), file)) {
		char *one, *other;

		line[strcspn(line, "\n")] = 0;
		one = strchr(line, '\t');
		if (!one)
			break;
		*one++ = 0;
		other = strchr(one, '\t');
		if (other)
			*other++ = 0;
		done[count++] = operate(line[0], one, other ? other : "");
	}
	fclose(file);
	file = fopen(out, "w");
	if (!file || fwrite(done, 1, count, file) != count || fclose(file))
		return 0;
	return count;
}

int main(void)
{
	char line[8192], *out;

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		out = strchr(line, ' ');
		if (!out)
			return 2;
		*out++ = 0;
		printf("%zu\n", all(line, out));
		fflush(stdout);
	}
	return 0;
}
