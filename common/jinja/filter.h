/* The filters, grouped by the type that they work on.
 *
 * Each has the signature of struct jfilter's call: `{{ x|join(", ") }}` calls jf_join with self = x
 * and a[0] = ", ".
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef JINJA_FILTER_H
#define JINJA_FILTER_H

#include "jinja/run.h"

#define JINJA_FILTER(name)                                                                         \
    struct jvalue name(struct jinja *in, struct jvalue self, const struct jvalue *a)
#define JINJA_FILTER_ARGS(name)                                                                    \
    struct jvalue name(struct jinja *in, struct jvalue self, const struct jargs *a)

// filter_seq.c: lists and dicts
JINJA_FILTER(jf_first);
JINJA_FILTER(jf_last);
JINJA_FILTER(jf_length);
JINJA_FILTER(jf_list);
JINJA_FILTER(jf_join);
JINJA_FILTER(jf_reverse);
JINJA_FILTER(jf_sort);
JINJA_FILTER(jf_dictsort);
JINJA_FILTER(jf_groupby);
JINJA_FILTER(jf_min);
JINJA_FILTER(jf_max);
JINJA_FILTER(jf_sum);

// filter_lazy.c: generators
JINJA_FILTER(jf_items);
JINJA_FILTER(jf_unique);
JINJA_FILTER(jf_batch);
JINJA_FILTER(jf_slice);
JINJA_FILTER_ARGS(jf_map);
JINJA_FILTER_ARGS(jf_select);
JINJA_FILTER_ARGS(jf_reject);
JINJA_FILTER_ARGS(jf_selectattr);
JINJA_FILTER_ARGS(jf_rejectattr);

// filter_text.c: strings
JINJA_FILTER(jf_upper);
JINJA_FILTER(jf_lower);
JINJA_FILTER(jf_capitalize);
JINJA_FILTER(jf_title);
JINJA_FILTER(jf_trim);
JINJA_FILTER(jf_replace);
JINJA_FILTER(jf_indent);
JINJA_FILTER(jf_center);
JINJA_FILTER(jf_truncate);
JINJA_FILTER(jf_wordcount);
JINJA_FILTER(jf_string);
JINJA_FILTER(jf_safe);
JINJA_FILTER(jf_escape);
JINJA_FILTER(jf_forceescape);
JINJA_FILTER(jf_striptags);
JINJA_FILTER(jf_urlencode);
JINJA_FILTER(jf_xmlattr);
JINJA_FILTER_ARGS(jf_format);

#endif
