/*
 * chaos.so is a PKCS#11 module for tests. It stands in front of another module,
 * passes every call through, counts it, and fails, delays, hangs or falsifies
 * those that the rules in force name.
 *
 * Four files beside it, named like it with a suffix, say what to do:
 *
 *   .module  the path of the module behind, read once
 *   .args    pReserved of C_Initialize, for callers that pass none; optional
 *   .rules   the rules in force; may be replaced by rename at any time
 *   .counts  what was called, shared by every process that loads this file
 *
 * A rule is one line: its number, unique and below RULES; the name of a
 * function, or "any", which is all but C_Initialize and C_Finalize; and what to
 * do: delay_ms=N rv=0xN after_rv=0xN hang flip wrongkey crash; and when:
 * after=N skips the first N calls, count=N ends it N calls later. Calls of all
 * processes count. Where several rules apply, delays add up and the last rv
 * wins.
 *
 * A C_Sign that only asks for the length is counted, and ruled, as
 * "C_SignLength": C_Sign is one signature.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include "pkcs11go.h"

/* One index for each function, in the order of the function list. */
#define CK_PKCS11_FUNCTION_INFO(name) AT_##name,
enum { 
#include "pkcs11f.h"
	AT_SignLength, FUNCTIONS, ANY
};
#undef CK_PKCS11_FUNCTION_INFO

#define CK_PKCS11_FUNCTION_INFO(name) #name,
static const char *const names[FUNCTIONS] = {
#include "pkcs11f.h"
	"C_SignLength"
};
#undef CK_PKCS11_FUNCTION_INFO

#define RULES 4096

/* What .counts holds; chaos.go reads it. All zero is a fresh file. */
static struct counts {
	struct { char name[24]; uint64_t entered, left; } calls[FUNCTIONS];
	uint64_t seen[RULES]; /* by rule number: the calls it was asked about */
} *counts;

struct rule {
	int number, function;
	uint64_t after, count; /* count 0 is without end */
	long delay_ms;
	int fails, replaces, hangs, flips, wrongkey, crashes;
	CK_RV rv, after_rv;
};

static CK_FUNCTION_LIST_PTR module;
static char self[4096];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows */
static struct rule rules[64];
static int in_force;
static struct stat read_at;

static void die(const char *what)
{
	fprintf(stderr, "chaos: %s: %s\n", self, what);
	abort();
}

static const char *beside(const char *suffix, char path[4128])
{
	snprintf(path, 4128, "%s%s", self, suffix);
	return path;
}

/* slurp reads a small file beside the shim; no file is an empty one. */
static char *slurp(const char *suffix, char *text, size_t size)
{
	char path[4128];
	FILE *f = fopen(beside(suffix, path), "r");
	size_t n = f ? fread(text, 1, size - 1, f) : 0;
	if (f)
		fclose(f);
	text[n] = 0;
	return text;
}

static int function_named(const char *name)
{
	if (strcmp(name, "any") == 0)
		return ANY;
	for (int i = 0; i < FUNCTIONS; i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	die(name);
	return -1;
}

static void parse_word(struct rule *r, char *word)
{
	char *value = strchr(word, '=');
	unsigned long n = value ? strtoul(value + 1, NULL, 0) : 0;

	if (value)
		*value = 0;
	if (strcmp(word, "delay_ms") == 0) r->delay_ms = n;
	else if (strcmp(word, "after") == 0) r->after = n;
	else if (strcmp(word, "count") == 0) r->count = n;
	else if (strcmp(word, "rv") == 0) r->fails = 1, r->rv = n;
	else if (strcmp(word, "after_rv") == 0) r->replaces = 1, r->after_rv = n;
	else if (strcmp(word, "hang") == 0) r->hangs = 1;
	else if (strcmp(word, "flip") == 0) r->flips = 1;
	else if (strcmp(word, "wrongkey") == 0) r->wrongkey = 1;
	else if (strcmp(word, "crash") == 0) r->crashes = 1;
	else die(word);
}

/* refresh reads the rules again if their file is another one. Call it locked. */
static void refresh(void)
{
	char path[4128], text[16384], *lines, *words;
	struct stat now;

	if (stat(beside(".rules", path), &now) != 0)
		memset(&now, 0, sizeof now);
	if (now.st_ino == read_at.st_ino && now.st_size == read_at.st_size &&
	    now.st_mtim.tv_sec == read_at.st_mtim.tv_sec && now.st_mtim.tv_nsec == read_at.st_mtim.tv_nsec)
		return;
	read_at = now;
	in_force = 0;
	for (char *line = strtok_r(slurp(".rules", text, sizeof text), "\n", &lines); line; line = strtok_r(NULL, "\n", &lines)) {
		char *number = strtok_r(line, " ", &words), *name = strtok_r(NULL, " ", &words);
		struct rule r = { .number = atoi(number ? number : "-1") };

		if (!name || r.number < 0 || r.number >= RULES || in_force == sizeof rules / sizeof *rules)
			die("bad rule");
		r.function = function_named(name);
		for (char *word; (word = strtok_r(NULL, " ", &words));)
			parse_word(&r, word);
		rules[in_force++] = r;
	}
}

static int applies(const struct rule *r, int f)
{
	if (r->function != f && !(r->function == ANY && f != AT_C_Initialize && f != AT_C_Finalize))
		return 0;
	uint64_t nth = __atomic_fetch_add(&counts->seen[r->number], 1, __ATOMIC_SEQ_CST);
	return nth >= r->after && (r->count == 0 || nth < r->after + r->count);
}

/* effect is all that the rules in force do to this call of f, in one. */
static struct rule effect(int f)
{
	struct rule e = { .number = -1 };

	pthread_mutex_lock(&lock);
	refresh();
	for (int i = 0; i < in_force; i++) {
		struct rule *r = &rules[i];

		if (!applies(r, f))
			continue;
		e.delay_ms += r->delay_ms;
		if (r->fails) e.fails = 1, e.rv = r->rv;
		if (r->replaces) e.replaces = 1, e.after_rv = r->after_rv;
		if (r->hangs) e.hangs = 1, e.number = r->number;
		e.flips |= r->flips, e.wrongkey |= r->wrongkey, e.crashes |= r->crashes;
	}
	pthread_mutex_unlock(&lock);
	return e;
}

static void sleep_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	while (nanosleep(&t, &t) != 0)
		;
}

/* hang returns when the rule of that number is gone. */
static void hang(int number)
{
	for (int there = 1; there; sleep_ms(2)) {
		there = 0;
		pthread_mutex_lock(&lock);
		refresh();
		for (int i = 0; i < in_force; i++)
			there |= rules[i].number == number;
		pthread_mutex_unlock(&lock);
	}
}

/* another_key finds a private key of key's type that is not key. */
static CK_OBJECT_HANDLE another_key(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_KEY_TYPE type = 0;
	CK_ATTRIBUTE like[] = { { CKA_CLASS, &class, sizeof class }, { CKA_KEY_TYPE, &type, sizeof type } };
	CK_OBJECT_HANDLE found[32];
	CK_ULONG n = 0;

	if (module->C_GetAttributeValue(session, key, &like[1], 1) || module->C_FindObjectsInit(session, like, 2))
		return key;
	module->C_FindObjects(session, found, 32, &n);
	module->C_FindObjectsFinal(session);
	for (CK_ULONG i = 0; i < n; i++)
		if (found[i] != key)
			return found[i];
	die("wrongkey: the token has no other key of this type");
	return key;
}

/* Every function, seen as one of eight words: the calling conventions of Linux
 * pass pointers, handles and booleans alike, and a callee takes what it needs. */
typedef unsigned long word;
typedef CK_RV (*function)(word, word, word, word, word, word, word, word);
#define EIGHT word a, word b, word c, word d, word e, word f, word g, word h

/* through is what every wrapper does. */
static CK_RV through(int at, function real, EIGHT)
{
	if (at == AT_C_Sign && d == 0)
		at = AT_SignLength;
	__atomic_fetch_add(&counts->calls[at].entered, 1, __ATOMIC_SEQ_CST);
	struct rule now = effect(at);
	if (now.crashes)
		die("crash, as the rules say");
	if (now.delay_ms)
		sleep_ms(now.delay_ms);
	if (now.hangs)
		hang(now.number);
	if (now.wrongkey && at == AT_C_SignInit)
		c = another_key(a, c);

	CK_RV rv = now.fails ? now.rv : real(a, b, c, d, e, f, g, h);
	if (now.flips && at == AT_C_Sign && rv == CKR_OK)
		((CK_BYTE_PTR)d)[*(CK_ULONG_PTR)e / 2] ^= 1;
	if (now.replaces)
		rv = now.after_rv;
	__atomic_fetch_add(&counts->calls[at].left, 1, __ATOMIC_SEQ_CST);
	return rv;
}

#define CK_PKCS11_FUNCTION_INFO(name) \
	static CK_RV wrapped_##name(EIGHT) { return through(AT_##name, (function)(void *)module->name, a, b, c, d, e, f, g, h); }
#include "pkcs11f.h"
#undef CK_PKCS11_FUNCTION_INFO

static CK_FUNCTION_LIST list;

/* initialize is C_Initialize with the text of .args where the caller has none. */
static CK_RV initialize(CK_C_INITIALIZE_ARGS_PTR given)
{
	static char text[4096];
	CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };

	if (given)
		args = *given;
	if (!args.pReserved && *slurp(".args", text, sizeof text))
		args.pReserved = text;
	return wrapped_C_Initialize((word)&args, 0, 0, 0, 0, 0, 0, 0);
}

static CK_RV function_list(CK_FUNCTION_LIST_PTR_PTR out)
{
	*out = &list;
	return CKR_OK;
}

static void map_counts(void)
{
	char path[4128];
	int fd = open(beside(".counts", path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, sizeof *counts) != 0)
		die("counts");
	counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counts == MAP_FAILED)
		die("counts");
	close(fd);
	for (int i = 0; i < FUNCTIONS; i++)
		strncpy(counts->calls[i].name, names[i], sizeof counts->calls[i].name - 1);
}

/* load opens the module behind and fills our list with wrappers. */
static void load(void)
{
	char path[4096];
	Dl_info here;

	if (!dladdr((void *)load, &here) || strlen(here.dli_fname) >= sizeof self)
		die("no path");
	strcpy(self, here.dli_fname);
	map_counts();
	void *so = dlopen(slurp(".module", path, sizeof path), RTLD_NOW | RTLD_LOCAL);
	CK_C_GetFunctionList get = so ? (CK_C_GetFunctionList)dlsym(so, "C_GetFunctionList") : NULL;
	if (!get || get(&module) != CKR_OK)
		die("the module behind cannot be loaded");

	list.version = module->version;
#define CK_PKCS11_FUNCTION_INFO(name) list.name = (CK_##name)(void *)wrapped_##name;
#include "pkcs11f.h"
	list.C_Initialize = (CK_C_Initialize)(void *)initialize;
	list.C_GetFunctionList = function_list;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	return function_list(out);
}
