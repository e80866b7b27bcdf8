/* network.c - calling kernels. */

/* A kernel that failed halfway has left its workspaces and its error text behind; the next frame starts clean. */
static int report_kernel(tvmpose_handle *h, const tvmpose_call *call, int32_t returned) {
  pool *p = h->pool;
  for (int i = 0; i < p->num_workers; ++i) p->workers[i].workspace_used = 0;
  if (atomic_exchange(&p->raised, false))
    return fail(h->error, TVMPOSE_INTERNAL, "kernel %s: %s", call->name, p->error);
  return fail(h->error, TVMPOSE_INTERNAL, "kernel %s returned %d", call->name, returned);
}

/* step: the index among info.step_names; 0 is the crop, num_calls + 1 the decoding. */
static int invoke(tvmpose_handle *h, const bound_call *bound, int32_t step) {
  const tvmpose_call *call = bound->call;
  TVMFFIAny result = {0};
  int64_t start = h->profile ? nanoseconds() : 0;
  int32_t returned = call->function(NULL, bound->args, call->num_args, &result);
  if (h->profile) h->profile[step] += (uint64_t)(nanoseconds() - start);
  if (returned) return report_kernel(h, call, returned);
  return the_model()->guard_bytes ? check_guards(h, call) : TVMPOSE_OK;
}

#ifndef TVMPOSE_GPU
static int run_network(tvmpose_handle *h) {
  int status = TVMPOSE_OK;
  for (int32_t i = 0; i < the_model()->num_calls && !status; ++i) status = invoke(h, &h->network[i], i + 1);
  return status;
}
#endif

static int check_tensors(const char *what, const void *const *tensors, int32_t count, char *error) {
  if (!tensors) return fail(error, TVMPOSE_INVALID_ARGUMENT, "%s is NULL", what);
  for (int32_t i = 0; i < count; ++i)
    if (!tensors[i]) return fail(error, TVMPOSE_INVALID_ARGUMENT, "%s[%d] is NULL", what, i);
  return TVMPOSE_OK;
}

static int tensors_to_tensors(tvmpose_handle *h, const void *const *inputs, void *const *outputs) {
  const tvmpose_model *model = the_model();
  int status = check_tensors("inputs", inputs, model->info.num_inputs, h->error);
  if (!status) status = check_tensors("outputs", (const void *const *)outputs, model->info.num_outputs, h->error);
  if (status) return status;
#ifdef TVMPOSE_GPU
  return device_tensors(h->device, inputs, outputs, h->profile, h->error);
#else
  for (int32_t i = 0; i < model->info.num_inputs; ++i)
    memcpy(h->tensors[model->inputs[i]].data, inputs[i], (size_t)model->info.inputs[i].bytes);
  status = run_network(h);
  for (int32_t i = 0; i < model->info.num_outputs && !status; ++i)
    memcpy(outputs[i], h->tensors[model->outputs[i]].data, (size_t)model->info.outputs[i].bytes);
  return status;
#endif
}
