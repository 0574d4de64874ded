/* Where a workload's counting begins and ends, told to callgrind by its client requests; without it they do nothing. */
#include <valgrind/callgrind.h>

void counts_begin(void)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void counts_end(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}
