/* The fake store of the spool's tests. */
#include "../spool/helper_fakes.h"
