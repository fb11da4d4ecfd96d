/* Queues work on a GPU: copies, kernels, graphs. See driver.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/private.h"
#include "base/mem.h"

enum {
    EARLY_SM = 90,              // programmatic dependent launch
    SHARED_UNASKED = 48 * 1024, // dynamic shared memory of a block without asking for more
};

struct cu_kernel {
    struct cu_kernel *next;
    void *function;
    size_t shared_bytes; // that it may be launched with
    char *name;
};

struct cu_graph {
    void *executable;
};

/* Whether more may be queued. */
static bool queues(const struct cu *c) {
    return c->kept.code == 0 && c->unusable.code == 0;
}

/* Stores a driver's error; what, which: "kernel", its name. */
static void keep(struct cu *c, int r, const char *what, const char *which) {
    struct err *e = c->capturing ? &c->unusable : &c->kept;
    if (r != API_SUCCESS && e->code == 0)
        (void)cu_api_fail(&c->api, r, e, "%s%s", what, which);
}

void cu_to_device(struct cu *c, void *dst, const void *pinned, size_t bytes) {
    if (queues(c) && bytes > 0)
        keep(c, c->api.cuMemcpyHtoDAsync(cu_address(dst), pinned, bytes, c->stream),
             "copying to the GPU", "");
}

void cu_to_host(struct cu *c, void *pinned, const void *src, size_t bytes) {
    if (queues(c) && bytes > 0)
        keep(c, c->api.cuMemcpyDtoHAsync(pinned, cu_address(src), bytes, c->stream),
             "copying from the GPU", "");
}

void cu_copy(struct cu *c, void *dst, const void *src, size_t bytes) {
    if (queues(c) && bytes > 0)
        keep(c, c->api.cuMemcpyDtoDAsync(cu_address(dst), cu_address(src), bytes, c->stream),
             "copying on the GPU", "");
}

void cu_fill(struct cu *c, void *dst, size_t bytes, unsigned char value) {
    if (queues(c) && bytes > 0)
        keep(c, c->api.cuMemsetD8Async(cu_address(dst), value, bytes, c->stream),
             "filling GPU memory", "");
}

int cu_sync(struct cu *c, struct err *e) {
    if (c->kept.code == 0)
        keep(c, c->api.cuStreamSynchronize(c->stream), "running on ", c->info.name);
    return cu_kept(c, e);
}

const struct err *cu_error(const struct cu *c) {
    return c->kept.code != 0 ? &c->kept : NULL;
}

/* Looks in every module. Returns a driver's result. */
static int find_function(const struct cu *c, const char *name, void **out) {
    int r = API_ERROR_NOT_FOUND;
    for (size_t i = 0; i < c->n_modules && r == API_ERROR_NOT_FOUND; i++)
        r = c->api.cuModuleGetFunction(out, c->modules[i], name);
    return r;
}

const struct cu_kernel *cu_kernel(struct cu *c, const char *name, size_t shared_bytes,
                                  struct err *e) {
    struct cu_kernel *k = c->kernels;
    while (k && strcmp(k->name, name) != 0)
        k = k->next;
    if (!k) {
        void *function;
        int r = find_function(c, name, &function);
        if (r != API_SUCCESS) {
            (void)cu_api_fail(&c->api, r, e, "kernel %s", name);
            return NULL;
        }
        k = xcalloc(1, sizeof *k);
        *k = (struct cu_kernel){c->kernels, function, SHARED_UNASKED, xstrdup(name)};
        c->kernels = k;
    }
    if (shared_bytes > k->shared_bytes) {
        int r = c->api.cuFuncSetAttribute(
            k->function, API_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shared_bytes);
        if (r != API_SUCCESS) {
            (void)cu_api_fail(&c->api, r, e, "%zu bytes of shared memory for kernel %s, of %zu",
                              shared_bytes, name, c->info.shared_bytes);
            return NULL;
        }
        k->shared_bytes = shared_bytes;
    }
    return k;
}

void cu_kernels_free(struct cu *c) {
    while (c->kernels) {
        struct cu_kernel *k = c->kernels;
        c->kernels = k->next;
        free(k->name);
        free(k);
    }
}

void cu_launch(struct cu *c, const struct cu_kernel *k, struct cu_shape shape, const void *args) {
    if (!queues(c))
        return;
    struct cu_launch_attribute early = {
        .id = API_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, .u = {.value = 1}};
    struct cu_launch_config config = {
        .grid_x = shape.x,
        .grid_y = shape.y > 0 ? shape.y : 1,
        .grid_z = shape.z > 0 ? shape.z : 1,
        .block_x = shape.threads,
        .block_y = 1,
        .block_z = 1,
        .shared_bytes = shape.shared,
        .stream = c->stream,
        .attributes = &early,
        .n_attributes = shape.early && c->info.sm >= EARLY_SM,
    };
    void *params[] = {(void *)args}; // only read
    keep(c, c->api.cuLaunchKernelEx(&config, k->function, params, NULL), "kernel ", k->name);
}

void cu_capture_begin(struct cu *c) {
    if (c->kept.code != 0)
        return;
    c->capturing = true;
    c->unusable = (struct err){0};
    keep(c, c->api.cuStreamBeginCapture(c->stream, API_STREAM_CAPTURE_MODE_THREAD_LOCAL),
         "recording a graph", "");
}

int cu_capture_end(struct cu *c, struct cu_graph **out, struct err *e) {
    void *graph = NULL, *executable = NULL;
    *out = NULL;
    if (cu_kept(c, e) != 0)
        return -1;
    // Also after an error: the stream records until it is told to end.
    keep(c, c->api.cuStreamEndCapture(c->stream, &graph), "recording a graph", "");
    if (queues(c))
        keep(c, c->api.cuGraphInstantiateWithFlags(&executable, graph, 0), "making a graph", "");
    if (graph)
        (void)c->api.cuGraphDestroy(graph);
    struct err failed = c->unusable;
    c->capturing = false;
    c->unusable = (struct err){0};
    if (failed.code != 0) {
        if (e)
            *e = failed;
        return -1;
    }
    *out = xcalloc(1, sizeof **out);
    (*out)->executable = executable;
    return 0;
}

void cu_graph_launch(struct cu *c, const struct cu_graph *g) {
    if (queues(c))
        keep(c, c->api.cuGraphLaunch(g->executable, c->stream), "a graph", "");
}

void cu_graph_free(struct cu *c, struct cu_graph *g) {
    if (g)
        (void)c->api.cuGraphExecDestroy(g->executable);
    free(g);
}

void cu_mark(struct cu *c, size_t i) {
    while (queues(c) && c->n_marks <= i) {
        void *event = NULL;
        keep(c, c->api.cuEventCreate(&event, API_EVENT_DEFAULT), "measuring time", "");
        if (!event)
            return;
        c->marks = xreallocarray(c->marks, c->n_marks + 1, sizeof *c->marks);
        c->marks[c->n_marks++] = event;
    }
    if (queues(c))
        keep(c, c->api.cuEventRecord(c->marks[i], c->stream), "measuring time", "");
}

double cu_marked_ms(struct cu *c, size_t i) {
    float ms = 0;
    if (queues(c) && i + 1 < c->n_marks)
        keep(c, c->api.cuEventElapsedTime(&ms, c->marks[i], c->marks[i + 1]), "measuring time", "");
    return (double)ms;
}

void cu_marks_free(struct cu *c) {
    for (size_t i = 0; i < c->n_marks; i++)
        (void)c->api.cuEventDestroy(c->marks[i]);
    free(c->marks);
    c->marks = NULL;
    c->n_marks = 0;
}

void cu_time_begin(struct cu *c) {
    if (!c->begin)
        keep(c, c->api.cuEventCreate(&c->begin, API_EVENT_DEFAULT), "measuring time", "");
    if (!c->end)
        keep(c, c->api.cuEventCreate(&c->end, API_EVENT_DEFAULT), "measuring time", "");
    if (queues(c))
        keep(c, c->api.cuEventRecord(c->begin, c->stream), "measuring time", "");
}

int cu_time_end(struct cu *c, double *out_ms, struct err *e) {
    float ms = 0;
    if (queues(c))
        keep(c, c->api.cuEventRecord(c->end, c->stream), "measuring time", "");
    if (queues(c))
        keep(c, c->api.cuEventSynchronize(c->end), "running on ", c->info.name);
    if (queues(c))
        keep(c, c->api.cuEventElapsedTime(&ms, c->begin, c->end), "measuring time", "");
    *out_ms = (double)ms;
    return cu_kept(c, e);
}
