/* pose.c - keypoints of a picture, with nothing but a bundle and a C compiler:
 *
 *     cc -O2 -DPOSE=NAME_tvmpose -IBUNDLE pose.c -o pose BUNDLE/libNAME.so -Wl,-rpath,BUNDLE
 *     ./pose picture.ppm [x y width height]
 *
 * Prints a line for each keypoint: number, name, x, y, score. */
#include <stdio.h>
#include <stdlib.h>

#include "tvmpose.h"

const tvmpose_api *POSE(void);

/* The next number of a PPM's header, past blanks and comments; -1 when there is none. */
static int read_number(FILE *file) {
  int c = getc(file), number;
  while (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '#') {
    if (c == '#')
      while (c != '\n' && c != EOF) c = getc(file);
    else c = getc(file);
  }
  ungetc(c, file);
  return fscanf(file, "%d", &number) == 1 ? number : -1;
}

/* A binary PPM (P6, 8 bits) as RGB; the caller frees image->data. 0 when it is not one. */
static int read_ppm(const char *path, tvmpose_image *image) {
  FILE *file = fopen(path, "rb");
  if (!file) return 0;
  int is_ppm = getc(file) == 'P' && getc(file) == '6';
  int width = is_ppm ? read_number(file) : -1, height = is_ppm ? read_number(file) : -1;
  int complete = 0;
  uint8_t *pixels = NULL;
  if (width > 0 && width <= 32767 && height > 0 && height <= 32767 && read_number(file) == 255) {
    size_t bytes = (size_t)width * (size_t)height * 3;
    pixels = malloc(bytes);
    getc(file); /* the one blank after the header */
    complete = pixels && fread(pixels, 1, bytes, file) == bytes;
  }
  fclose(file);
  *image = (tvmpose_image){pixels, NULL, width, height, 0, 0, TVMPOSE_RGB};
  if (!complete) free(pixels);
  return complete;
}

static void print_person(const tvmpose_info *info, const tvmpose_person *person) {
  for (int k = 0; k < info->num_keypoints; ++k) {
    const tvmpose_keypoint *point = &person->keypoints[k];
    printf("%d %s %.3f %.3f %.3f\n", k, info->keypoint_names[k], point->x, point->y, point->score);
  }
}

int main(int argc, char **argv) {
  const tvmpose_api *api = POSE();
  tvmpose_image image;
  tvmpose_box box = {0, 0, 0, 0};
  tvmpose_handle *pose;
  tvmpose_result result;
  if (argc != 2 && argc != 6) return fprintf(stderr, "usage: %s IMAGE.ppm [x y width height]\n", argv[0]), 2;
  if (!read_ppm(argv[1], &image)) return fprintf(stderr, "%s: not a binary 8-bit PPM (P6)\n", argv[1]), 1;
  if (argc == 6)
    box = (tvmpose_box){strtof(argv[2], NULL), strtof(argv[3], NULL), strtof(argv[4], NULL), strtof(argv[5], NULL)};
  if (api->open(NULL, &pose)) return fprintf(stderr, "%s\n", api->last_error(NULL)), 1;

  int status = api->run_image(pose, &image, argc == 6 ? &box : NULL, argc == 6, &result);
  if (status) fprintf(stderr, "%s\n", api->last_error(pose));
  else print_person(api->info(), &result.people[0]);
  api->close(pose);
  free((void *)(uintptr_t)image.data);
  return status != 0;
}
