/* avxvnni_panel.c - wide integers (panels.h) by VPDPWSSD, which multiplies pairs and adds them to the
 * sum: the tile of avx2_panel.c with half the instructions. */
#include "vnni.h"

#ifdef LOAM_AVXVNNI
#include "avx2_wide.h"

void loam_avxvnni_use_panel(loam_kernels *k) {
    k->panel_wide = panel_wide_256;
}

#endif
