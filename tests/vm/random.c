/*
 * random NAMES COUNT SEED OUT: COUNT random operations on the files that NAMES lists, one a line; writes to OUT
 * for each which file (16 bits), which operation (8) and its errno (8).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ, WRITE, CREATE, DELETE, OPERATIONS };

static int operate(unsigned what, const char *file)
{
	int fd;

	if (what == DELETE)
		return unlink(file) ? errno : 0;
	fd = open(file, what == READ ? O_RDONLY : what == WRITE ? O_WRONLY : O_WRONLY | O_CREAT | O_EXCL, 0644);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	static char names[4096][128];
	unsigned files = 0, count;
	uint64_t state;
	uint32_t *done;
	FILE *file;

	if (argc != 5 || !(file = fopen(argv[1], "r")))
		return 2;
	while (files < 4096 && fgets(names[files], sizeof(names[0]), file)) {
		names[files][strcspn(names[files], "\n")] = 0;
		files++;
	}
	fclose(file);
	count = atoi(argv[2]);
	state = strtoull(argv[3], NULL, 10) | 1;
	done = calloc(count, sizeof(*done));
	if (!files || !done)
		return 3;
	for (unsigned i = 0; i < count; i++) {
		unsigned which, what;

		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		which = (state >> 20) % files;
		what = (state >> 50) % OPERATIONS;
		done[i] = which | what << 16 | (uint32_t)operate(what, names[which]) << 24;
	}
	file = fopen(argv[4], "w");
	return !file || fwrite(done, sizeof(*done), count, file) != count || fclose(file);
}
