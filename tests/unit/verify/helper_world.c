/* The virtual network of outbound's tests. */
#include "../outbound/helper_world.c"
