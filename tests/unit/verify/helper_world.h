#include "../outbound/helper_world.h"
