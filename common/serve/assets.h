/* The files that the server gives out as they are: the page at / and the description of the API.
 * Their bytes are in the program.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_ASSETS_H
#define SERVE_ASSETS_H

#include "base/mem.h"

struct str assets_page(void);    // common/serve/page.html
struct str assets_openapi(void); // common/serve/openapi.json

/* The Content-Security-Policy of the page: only its own script and style, by their SHA-256, and
 * requests to this server. Made at the first call; threads may call it after that. */
const char *assets_page_security(void);

#endif
