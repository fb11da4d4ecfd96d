/* Files in the program: see assets.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/assets.h"

#include <sodium.h>
#include <stdio.h>

#include "base/base64.h"

#define ASSET(symbol, path)                                                                        \
    __asm__(".section .rodata\n"                                                                   \
            ".global " symbol "\n" symbol ":\n"                                                    \
            ".incbin \"" path "\"\n"                                                               \
            ".global " symbol "_end\n" symbol "_end:\n"                                            \
            ".byte 0\n"                                                                            \
            ".previous\n")
ASSET("assets_page_bytes", "common/serve/page.html");
ASSET("assets_openapi_bytes", "common/serve/openapi.json");

extern const char assets_page_bytes[], assets_page_bytes_end[];
extern const char assets_openapi_bytes[], assets_openapi_bytes_end[];

struct str assets_page(void) {
    return (struct str){assets_page_bytes, (size_t)(assets_page_bytes_end - assets_page_bytes)};
}

struct str assets_openapi(void) {
    return (struct str){assets_openapi_bytes,
                        (size_t)(assets_openapi_bytes_end - assets_openapi_bytes)};
}

/* Appends "'sha256-...'" of what is between `begin` and `end` in the page. */
static void add_hash(struct buf *out, const char *begin, const char *end) {
    unsigned char hash[crypto_hash_sha256_BYTES];
    const char *p = strstr(assets_page_bytes, begin), *q = p ? strstr(p, end) : NULL;
    if (!q)
        return;
    p += strlen(begin);
    crypto_hash_sha256(hash, (const unsigned char *)p, (unsigned long long)(q - p));
    buf_str(out, "'sha256-");
    base64_encode(hash, sizeof hash, out);
    buf_byte(out, '\'');
}

const char *assets_page_security(void) {
    static char text[400];
    struct buf out = {0};
    if (text[0])
        return text;
    buf_str(&out, "default-src 'none'; script-src ");
    add_hash(&out, "<script>", "</script>");
    buf_str(&out, "; style-src ");
    add_hash(&out, "<style>", "</style>");
    buf_str(&out, "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                  "frame-ancestors 'none'");
    snprintf(text, sizeof text, "%s", out.p);
    buf_free(&out);
    return text;
}
