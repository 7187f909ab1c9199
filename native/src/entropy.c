/* Puts our decoder of Huffman codes in the place of libjpeg-turbo's, for scans that it takes.
 *
 * The linker leads libjpeg-turbo's call of jinit_huff_decoder to __wrap_jinit_huff_decoder here.
 * Everything else stays libjpeg-turbo's: headers, inverse DCT, colours, errors.
 */

#include <stddef.h>
#include <stdio.h>

#include <jpeglib.h>
#include <jerror.h>

#define TABLES 4

/* How libjpeg-turbo's jpegint.h, which is not installed, begins this. */
struct jpeg_entropy_decoder {
  void (*start_pass)(j_decompress_ptr);
  boolean (*decode_mcu)(j_decompress_ptr, JBLOCKROW *);
};

/* The same in entropy.rs. */
struct scan {
  const unsigned char *data;
  size_t length;
  size_t mcus;
  unsigned restart;
  unsigned blocks;
  unsigned char component[D_MAX_BLOCKS_IN_MCU], dc[D_MAX_BLOCKS_IN_MCU], ac[D_MAX_BLOCKS_IN_MCU];
  const JHUFF_TBL *dc_tables[TABLES], *ac_tables[TABLES];
};

void *besana_scan_begin(const struct scan *, size_t *end);
int besana_scan_mcu(void *, JBLOCKROW *);
void __real_jinit_huff_decoder(j_decompress_ptr);
void __wrap_jinit_huff_decoder(j_decompress_ptr);

struct place {
  struct jpeg_entropy_decoder libjpegs;
  void *ours;
};

static boolean decode_mcu(j_decompress_ptr cinfo, JBLOCKROW *blocks) {
  struct place *place = cinfo->client_data;
  if (!besana_scan_mcu(place->ours, blocks)) ERREXIT(cinfo, JWRN_HUFF_BAD_CODE);
  return TRUE;
}

static void start_pass(j_decompress_ptr cinfo) {
  struct place *place = cinfo->client_data;
  struct jpeg_source_mgr *source = cinfo->src;
  struct scan scan = {0};
  size_t end = 0;

  place->libjpegs.start_pass(cinfo); /* it refuses tables that are wrong */
  cinfo->entropy->decode_mcu = place->libjpegs.decode_mcu;
  if (cinfo->comps_in_scan != cinfo->num_components) return;
  scan.data = source->next_input_byte;
  scan.length = source->bytes_in_buffer;
  scan.mcus = (size_t)cinfo->MCUs_per_row * cinfo->MCU_rows_in_scan;
  scan.restart = cinfo->restart_interval;
  scan.blocks = (unsigned)cinfo->blocks_in_MCU;
  for (unsigned n = 0; n < scan.blocks; n++) {
    const jpeg_component_info *component = cinfo->cur_comp_info[cinfo->MCU_membership[n]];
    scan.component[n] = (unsigned char)cinfo->MCU_membership[n];
    scan.dc[n] = (unsigned char)component->dc_tbl_no;
    scan.ac[n] = (unsigned char)component->ac_tbl_no;
    scan.dc_tables[scan.dc[n]] = cinfo->dc_huff_tbl_ptrs[scan.dc[n]];
    scan.ac_tables[scan.ac[n]] = cinfo->ac_huff_tbl_ptrs[scan.ac[n]];
  }
  place->ours = besana_scan_begin(&scan, &end);
  if (place->ours == NULL) return;
  cinfo->entropy->decode_mcu = decode_mcu;
  source->next_input_byte += end; /* at the marker after the scan */
  source->bytes_in_buffer -= end;
}

void __wrap_jinit_huff_decoder(j_decompress_ptr cinfo) {
  struct place *place =
      (*cinfo->mem->alloc_small)((j_common_ptr)cinfo, JPOOL_IMAGE, sizeof(struct place));
  __real_jinit_huff_decoder(cinfo);
  place->libjpegs = *cinfo->entropy;
  place->ours = NULL;
  cinfo->client_data = place;
  cinfo->entropy->start_pass = start_pass;
}
