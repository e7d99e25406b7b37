#include "../spool/helper_fakes.h"
