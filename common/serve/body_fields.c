/* The fields of requests: see body.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stddef.h>

#include "serve/body_reader.h"

enum {
    CHAT = 1u << BODY_CHAT,
    TEXT = 1u << BODY_COMPLETION,
    ANTH = 1u << BODY_MESSAGES,
    RESP = 1u << BODY_RESPONSES,
    BOTH = CHAT | TEXT,
    OPENAI = BOTH | RESP,
    ALL = OPENAI | ANTH
};

const struct body_field body_fields[BODY_N_FIELDS] = {
    {"messages", BODY_OWN, CHAT | ANTH, NULL},
    {"prompt", BODY_OWN, TEXT, NULL},
    {"input", BODY_OWN, RESP, NULL},
    {"instructions", BODY_OWN, RESP, NULL},
    {"system", BODY_OWN, ANTH, NULL},
    {"model", BODY_OWN, ALL, NULL},
    {"stream", BODY_OWN, ALL, NULL},
    {"stream_options", BODY_OWN, OPENAI, NULL},
    {"n", BODY_OWN, BOTH, NULL},
    {"logprobs", BODY_OWN, BOTH, NULL},
    {"top_logprobs", BODY_OWN, CHAT | RESP, NULL},
    {"include", BODY_OWN, RESP, NULL},
    {"text", BODY_OWN, RESP, NULL},
    {"echo", BODY_OWN, TEXT, NULL},
    {"temperature", BODY_OWN, ALL, "temp"},
    {"seed", BODY_OWN, ALL, "seed"},
    {"max_tokens", BODY_OWN, BOTH | ANTH, "max"},
    {"max_completion_tokens", BODY_OWN, CHAT, "max"},
    {"max_output_tokens", BODY_OWN, RESP, "max"},
    {"stop", BODY_PARAM, BOTH, "stop"},
    {"stop_sequences", BODY_PARAM, ANTH, "stop"},
    {"top_p", BODY_PARAM, ALL, "top_p"},
    {"logit_bias", BODY_PARAM, BOTH, "logit_bias"},
    {"presence_penalty", BODY_PARAM, BOTH, "presence_penalty"},
    {"frequency_penalty", BODY_PARAM, BOTH, "frequency_penalty"},
    {"top_k", BODY_PARAM, ALL, "top_k"},
    {"min_p", BODY_PARAM, ALL, "min_p"},
    {"repetition_penalty", BODY_PARAM, ALL, "repetition_penalty"},
    {"ignore_eos", BODY_PARAM, ALL, "ignore_eos"},
    {"stop_token_ids", BODY_PARAM, BOTH, "stop_id"},
    {"chat_template_kwargs", BODY_TEMPLATE, CHAT | ANTH | RESP, NULL},
    {"add_generation_prompt", BODY_TEMPLATE, CHAT, NULL},
    {"continue_final_message", BODY_TEMPLATE, CHAT, NULL},
    {"user", BODY_HARMLESS, OPENAI, NULL},
    {"metadata", BODY_HARMLESS, ALL, NULL},
    {"service_tier", BODY_HARMLESS, ALL, NULL},
    {"safety_identifier", BODY_HARMLESS, OPENAI, NULL},
    {"prompt_cache_key", BODY_HARMLESS, OPENAI, NULL},
    {"prompt_cache_retention", BODY_HARMLESS, OPENAI, NULL},
    {"parallel_tool_calls", BODY_HARMLESS, CHAT | RESP, NULL},
    {"truncation", BODY_OWN, RESP, NULL},
    {"thinking", BODY_NOT_YET, ANTH, NULL},
    {"mcp_servers", BODY_NOT_YET, ANTH, NULL},
    {"container", BODY_NOT_YET, ANTH, NULL},
    {"context_management", BODY_NOT_YET, ANTH | RESP, NULL},
    {"output_config", BODY_NOT_YET, ANTH, NULL},
    {"output_format", BODY_NOT_YET, ANTH, NULL},
    {"cache_control", BODY_HARMLESS, ANTH, NULL},
    {"inference_geo", BODY_HARMLESS, ANTH, NULL},
    {"store", BODY_NOT_YET, CHAT | RESP, NULL},
    {"best_of", BODY_NOT_YET, TEXT, NULL},
    {"suffix", BODY_NOT_YET, TEXT, NULL},
    {"tools", BODY_NOT_YET, CHAT | ANTH | RESP, NULL},
    {"tool_choice", BODY_NOT_YET, CHAT | ANTH | RESP, NULL},
    {"max_tool_calls", BODY_NOT_YET, RESP, NULL},
    {"functions", BODY_NOT_YET, CHAT, NULL},
    {"function_call", BODY_NOT_YET, CHAT, NULL},
    {"response_format", BODY_NOT_YET, BOTH, NULL},
    {"modalities", BODY_NOT_YET, CHAT, NULL},
    {"audio", BODY_NOT_YET, CHAT, NULL},
    {"prediction", BODY_NOT_YET, CHAT, NULL},
    {"reasoning_effort", BODY_NOT_YET, CHAT, NULL},
    {"reasoning", BODY_NOT_YET, RESP, NULL},
    {"verbosity", BODY_NOT_YET, CHAT, NULL},
    {"web_search_options", BODY_NOT_YET, CHAT, NULL},
    {"background", BODY_NOT_YET, RESP, NULL},
    {"conversation", BODY_NOT_YET, RESP, NULL},
    {"previous_response_id", BODY_NOT_YET, RESP, NULL},
    {"moderation", BODY_NOT_YET, CHAT | RESP, NULL},
};

const char *body_field_name(enum body_kind kind, size_t i, bool refused) {
    for (size_t k = 0; k < BODY_N_FIELDS; k++) {
        const struct body_field *f = &body_fields[k];
        if (!f->name || !(f->in & 1u << kind) || (f->kind == BODY_NOT_YET && !refused))
            continue;
        if (i-- == 0)
            return f->name;
    }
    return NULL;
}
