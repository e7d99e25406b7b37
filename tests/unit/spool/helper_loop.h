/* The loop and the directories of the store's tests. */
#include "../store/helper_loop.h"
